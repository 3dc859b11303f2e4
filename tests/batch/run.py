#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py FIBERMAP-BATCH - test the program on small batches of real processes, in TAP"""
import os
import sys

import harness
import builtin_test
import run_test
import add_test
import each_test
import control_test
import display_test
import docs_test
import end_test
import journal_test
import output_test
import rate_test
import report_test
import service_test

if len(sys.argv) != 2:
    sys.exit(__doc__)
assert run_test and add_test and each_test and end_test and journal_test and display_test and control_test and rate_test and service_test
assert builtin_test and docs_test and output_test and report_test
harness.BINARY = os.path.abspath(sys.argv[1])
sys.exit(harness.run_all())
