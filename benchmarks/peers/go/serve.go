// SPDX-License-Identifier: Apache-2.0

package main

// The server of the HTTP questions over net/http, which has a goroutine for each connection.

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
)

// serve says where it listens and serves until it is ended: /hello, and /hello/keyed, which is
// answered by a goroutine of its own under a fresh key.
func serve() {
	m := newMap()
	var next, ended int64
	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "hello\n")
	})
	http.HandleFunc("/hello/keyed", func(w http.ResponseWriter, r *http.Request) {
		key := "hello-" + strconv.FormatInt(atomic.AddInt64(&next, 1), 10)
		var text string
		e, _ := m.replace(key, func(context.Context) {
			text = "hello " + strconv.FormatInt(atomic.AddInt64(&ended, 1), 10) + "\n"
		})
		<-e.done
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, text)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "cannot listen")
	fmt.Printf("listening on http://%s\n", listener.Addr())
	check(http.Serve(listener, nil) == nil, "cannot serve")
}
