#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py FIBERMAP-SERVE [OPTION...] - test the server over real sockets, in TAP

The options go to the server that the tests of a module share, --workers=1 for example.
"""
import sys

import harness
import http_test
import smuggling_test
import stream_test
import api_test
import jobs_test
import events_test
import policy_test
import openapi_test
import websocket_test
import frames_test
import door_test
import tls_test
import end_test

if len(sys.argv) < 2:
    sys.exit(__doc__.splitlines()[0])
harness.BINARY = sys.argv[1]
sys.exit(harness.run([http_test, smuggling_test, stream_test, api_test, jobs_test, events_test, policy_test, openapi_test, websocket_test, frames_test, door_test, tls_test, end_test], sys.argv[2:]))
