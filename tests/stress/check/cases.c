/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cases.c - short histories for the checker's own test: good ones, and broken ones
 *
 * A call each: "op+flags arg result call return"; a flag may have a value, as in
 * run_if+expect=1. "-" is what is not told.
 */
#include "tests/stress/check/check.h"

const struct history_case accepted_cases[] = {
    { "a plain life", "run 1 0 0 1; get - 1 2 3; exit 1 true 4 5; gone 1 - 5 5; get - 0 6 7" },
    { "overlapping runs",
      "run 1 - 0 9; run 2 - 0 9; get - 1 10 11; exit 2 false 12 13; exit 1 true 14 15" },
    { "kept",
      "run_missing 1 1 0 1; run_missing 2 1 2 3; exit 1 true 3 4; run_missing 3 3 5 6" },
    { "remove waits",
      "run 1 0 0 1; remove - true 2 9; get - 1 3 4; exit 1 true 5 6; has - false 7 8" },
    { "exit unknown", "run 1 0 0 1; run 2 - 2 3; exit 1 - 2 8; exit 2 - 4 9; get - 0 10 11" },
    { "close", "run 1 0 0 1; close - - 2 9; run 2 closed 4 5; exit 1 true 6 7; get - 0 10 11" },
    { "set of an ended one",
      "run 1 0 0 1; exit 1 true 2 3; set 1 0 4 5; exit 1 - 4 6; get - 0 7 8" },
    { "never returned", "run 1 0 0 1; run 2 - 2 null; get - 2 5 6; get - 2 7 8" },
    { "failed", "run 1 0 0 1; run 2 failed 2 3; get - 1 4 5" },
    { "a shared run",
      "run_wait 1 1 0 9; run_wait 2 1 2 9; get - 1 3 4; exit 1 true 5 6; get - 0 7 8" },
    { "one waiter of two leaves",
      "run_wait+stops 1 1 0 9; run_wait+left 2 1 2 3; run_join 3 1 4 5; exit 1 true 6 7" },
    { "the last waiter leaves",
      "run_wait+stops+left 1 1 0 1; run_join 2 2 2 3; exit 1 false 4 5; get - 2 6 7" },
    { "the last waiter of two leaves",
      "run_wait+stops+left 1 1 0 3; run_wait+left 2 1 1 4; exit+given_up 1 true 5 6" },
    { "joined the second of two",
      "run 1 0 0 1; exit 1 true 2 9; run_wait+stops+left 2 2 3 9; run_wait+left 9 false 4 "
      "15; run_join 8 2 10 11; exit 2 true 16 17" },
    { "no one stops who goes on", "run_wait+left 1 1 0 1; run_join 2 1 2 3; exit 1 true 4 5" },
    { "a closing map still shows who ends",
      "run 1 0 0 1; close - - 2 9; get - 0 3 4; see - 1 5 6; exit 1 true 7 8" },
    { "a queue",
      "run_queue 1 0 0 1; run_queue 2 queued 2 3; run_queue 3 queued 4 5; exit 1 true 6 "
      "7; turn 2 - 2 9; get - 2 10 11; exit 2 true 12 13; get - 3 14 15; turn 3 - 4 17; "
      "exit 3 true 18 19; get - 0 20 21" },
    { "a lookup between two bodies",
      "run_queue 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; get - 2 6 7; see - 0 6 "
      "7; has - true 8 9; run_missing 9 2 8 9; set 2 2 8 9; detach - 0 8 9; turn 2 - 10 "
      "11; exit 2 true 12 13" },
    { "one leaves the queue",
      "run 1 0 0 1; run_queue 2 queued 2 3; run_queue 3 queued 4 5; exit 2 true 2 6; exit "
      "1 true 7 8; turn 3 - 4 9" },
    { "a replacement goes before the queue",
      "run 1 0 0 1; run_queue 2 queued 2 3; run 3 1 4 5; exit 1 false 6 7; exit 3 true 8 "
      "9; turn 2 - 2 11; get - 2 12 13" },
    { "a full queue",
      "run 1 0 0 1; run_queue+most=1 2 queued 2 3; run_queue+most=1 3 full 4 5; exit 1 "
      "true 6 7; turn 2 - 2 9; run_queue+most=1 4 queued 10 11" },
    { "clear takes the queue along",
      "run 1 0 0 1; run_queue 2 queued 2 3; clear - - 4 9; exit 2 true 5 6; exit 1 true 7 "
      "8; get - 0 10 11" },
    { "queued behind one who still ends",
      "run 1 0 0 1; run_await 2 1 2 3; exit 2 true 4 5; run_queue 3 queued 6 7; get - 3 8 "
      "9; exit 1 false 9 10; turn 3 - 6 12" },
    { "whom it expected",
      "run 1 0 0 1; run_if+expect=1 2 2 2 3; get - 2 4 5; run_if+expect=1 3 2 6 7; exit 1 "
      "false 8 9; exit 2 true 10 11; run_if+expect=2 4 0 12 13; run_if+expect=0 5 5 14 15" },
    { "right after whom it expected",
      "run 1 0 0 1; run_if+expect=1+follows 2 2 2 9; exit 1 true 3 7; get - 0 3 7; get - "
      "2 10 11" },
    { "right after whom it expected, and removed",
      "run 1 0 0 1; run_if+expect=1+follows 2 2 2 20; exit 2 - 2 20; exit 1 - 4 20; "
      "remove - 2 6 12; run 3 0 13 14" },
    { "an exit is used again",
      "run+reuses 1 0 0 1; exit 1 true 2 3; last - 1 4 5; run+reuses+reused 2 1 6 7; "
      "run_wait+reuses 3 false 6 7; forget - true 8 9; last - false 10 11; run+reuses 4 0 "
      "12 13" },
    { "who holds the key comes first",
      "run 1 0 0 1; exit 1 true 2 3; run 2 0 4 5; run_missing+reuses 3 2 6 7; last - 1 6 "
      "7; exit 2 true 8 9; last - 2 10 11" },
    { "who left the queue is the last",
      "run+reuses 1 0 0 1; run_queue 2 queued 2 3; exit 2 - 2 9; get - 1 4 5; exit 1 true "
      "6 7; get - 0 8 9; last - 1 10 11" },
    { NULL, NULL },
};

const struct history_case rejected_cases[] = {
    { "two only-if-missing starts",
      "run_missing 1 1 0 5; run_missing 2 2 0 5; exit 1 true 8 9; exit 2 - 8 9" },
    { "a gap in a replacement",
      "run 1 0 0 1; run 2 1 2 9; get - 0 3 4; exit 1 false 10 11; exit 2 true 12 13" },
    { "the exit takes the successor",
      "run 1 0 0 1; run 2 1 2 3; exit 1 true 4 5; get - 0 6 7" },
    { "gone, and still found", "run 1 0 0 1; gone 1 - 5 5; get - 1 6 7; exit 1 true 8 9" },
    { "remove came back too early",
      "run 1 0 0 1; remove - true 2 3; exit 1 true 5 6; get - 1 7 8" },
    { "remove did not wait", "run 1 0 0 1; remove - true 2 3; get - 1 4 5; exit 1 true 6 7" },
    { "run behind close", "run 1 0 0 1; exit 1 true 2 3; close - - 4 5; run 2 0 6 7" },
    { "back from the dead", "run 1 0 0 1; exit 1 true 2 3; get - 0 4 5; get - 1 6 7" },
    { "clear left one", "run 1 0 0 1; clear - - 2 3; get - 1 4 5; exit 1 true 6 7" },
    { "one displaced twice", "run 1 0 0 1; run 2 1 2 5; run 3 1 2 5" },
    { "a failure that changed something", "run 1 0 0 1; run 2 failed 2 3; get - 2 4 5" },
    { "a step after the signal", "run 1 0 0 1; run 2 1 2 3; step 1 - 4 5" },
    { "a body after its remove", "run 1 0 0 1; remove - 1 2 5; exit 1 true 3 4; body 1 - 1 6" },
    { "detached, and still found", "run 1 0 0 1; detach - 1 2 3; get - 1 4 5" },
    { "detached, and its exit takes out",
      "run 1 0 0 1; detach - 1 2 3; run 2 0 4 5; exit 1 true 6 7" },
    { "two starts by those who share",
      "run_wait 1 1 0 9; run_wait 2 2 0 9; exit 1 true 10 11; exit 2 true 10 11" },
    { "a waiter that came back too early", "run_wait 1 1 0 2; get - 1 3 4; exit 1 true 5 6" },
    { "given up, and joined",
      "run_wait+stops+left 1 1 0 1; run_join 2 1 2 3; exit 1 true 4 5" },
    { "stopped although somebody waits",
      "run_wait+stops 1 1 0 9; run_wait+left 2 1 2 3; exit+given_up 1 true 5 6" },
    { "fresh although somebody waits",
      "run_wait+stops 1 1 0 9; run_wait+left 2 1 2 3; run_join 3 3 4 5; exit 1 - 6 7" },
    { "stopped although nobody asked for it",
      "run_wait+left 1 1 0 1; run_join 2 2 2 3; exit 1 - 4 5; exit 2 - 6 7" },
    { "a snapshot of who was replaced", "run 1 0 0 1; run 2 1 2 3; see - 1 4 5" },
    { "a snapshot shows a key twice",
      "run 1 0 0 1; see - 1 2 3; see - 0 2 3; exit 1 true 4 5" },
    { "an empty key in a snapshot of a closing map",
      "run 1 0 0 1; close - - 2 9; see - 0 3 4; exit 1 true 5 6" },
    { "overtaken in the queue",
      "run 1 0 0 1; run_queue 2 queued 2 3; run_queue 3 queued 4 5; exit 1 true 6 7; turn "
      "3 - 4 9; exit 3 true 10 11; turn 2 - 2 12" },
    { "two of a queue at once",
      "run_queue 1 0 0 1; run_queue 2 queued 2 3; turn 2 - 2 5; exit 1 true 6 7; exit 2 "
      "true 8 9" },
    { "queued behind nobody",
      "run 1 0 0 1; exit 1 true 2 3; run_queue 2 queued 4 5; turn 2 - 4 6; exit 2 true 7 "
      "8" },
    { "begun although somebody holds the key",
      "run 1 0 0 1; run_queue 2 0 2 3; exit 1 - 4 5; exit 2 - 6 7" },
    { "begun although somebody waits",
      "run 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; run_queue 3 0 6 7; turn 2 - "
      "8 9; exit 3 - 10 11" },
    { "a key with a queue that was free",
      "run 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; get - 0 6 7; turn 2 - 8 9; "
      "exit 2 true 10 11" },
    { "only if missing before the queue",
      "run 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; run_missing 3 3 6 7; turn 2 "
      "- 8 12; exit 3 true 10 11; exit 2 true 13 14" },
    { "more than may wait",
      "run 1 0 0 1; run_queue+most=1 2 queued 2 3; run_queue+most=1 3 queued 4 5; exit 2 "
      "true 6 7; exit 1 true 8 9; turn 3 - 4 11" },
    { "a full queue that was not",
      "run 1 0 0 1; run_queue+most=1 2 full 2 3; exit 1 true 4 5" },
    { "clear left one in the queue",
      "run 1 0 0 1; run_queue 2 queued 2 3; clear - - 4 9; exit 1 true 5 6; get - 2 10 "
      "11; exit 2 true 2 13" },
    { "detached by its place in the queue",
      "run 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; detach - 2 6 7" },
    { "a turn after the end",
      "run 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; exit 2 true 6 7; get - 0 8 "
      "9; turn 2 - 10 11" },
    { "a queue that did not wait for who still ends",
      "run 1 0 0 1; body 1 - 1 20; run_await 2 1 2 3; exit 2 true 4 5; run_queue 3 queued "
      "6 7; turn 3 - 6 9; body 3 - 9 10; exit 3 true 11 12; exit 1 false 20 21" },
    { "an await that forgot one before",
      "run 1 0 0 1; body 1 - 1 20; run_await 2 1 2 3; run_await 3 2 4 5; body 3 - 9 10; "
      "exit 2 false 6 7; exit 3 true 11 12; exit 1 false 20 21" },
    { "another than whom it expected",
      "run 1 0 0 1; run 2 1 2 3; run_if+expect=1 3 3 4 5; exit 2 - 6 7" },
    { "both have replaced whom they expected",
      "run 1 0 0 1; run_if+expect=1 2 2 2 5; run_if+expect=1 3 3 2 5; exit 1 false 6 7" },
    { "refused although it was there",
      "run 1 0 0 1; run_if+expect=1 2 0 2 3; exit 1 true 4 5" },
    { "nobody was expected, and somebody was there",
      "run 1 0 0 1; run_if+expect=0 2 2 2 3; exit 2 - 4 5" },
    { "long after whom it expected",
      "run 1 0 0 1; exit 1 true 2 3; get - 0 4 5; run_if+expect=1+follows 2 2 6 7; exit 2 "
      "true 8 9" },
    { "a step of whom a comparison replaced",
      "run 1 0 0 1; run_if+expect=1 2 2 2 3; step 1 - 4 5" },
    { "used again while another holds the key",
      "run 1 0 0 1; exit 1 true 2 3; run 2 0 4 5; run+reuses+reused 3 1 6 7; exit 2 true "
      "8 9" },
    { "used again while somebody queues",
      "run 1 0 0 1; run_queue 2 queued 2 3; exit 1 true 4 5; run+reuses+reused 3 1 6 7; "
      "turn 2 - 8 9; exit 2 true 10 11" },
    { "an older exit is used again",
      "run+reuses 1 0 0 1; exit 1 true 2 3; run 2 0 4 5; exit 2 true 6 7; "
      "run+reuses+reused 3 1 8 9" },
    { "used again after it was forgotten",
      "run 1 0 0 1; exit 1 true 2 3; forget - true 4 5; run+reuses+reused 3 1 6 7" },
    { "run again although one is retained",
      "run+reuses 1 0 0 1; exit 1 true 2 3; run+reuses 2 0 4 5; exit 2 true 6 7" },
    { "a replaced one is retained",
      "run+reuses 1 0 0 1; run 2 1 2 3; exit 1 false 4 5; last - 1 6 7; exit 2 true 8 9" },
    { "a detached one is retained",
      "run+reuses 1 0 0 1; detach - 1 2 3; exit 1 - 4 5; last - true 6 7" },
    { NULL, NULL },
};
