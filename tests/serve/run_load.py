#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run_load.py FIBERMAP-SERVE SERVE-CLIENTS [sanitized] - the server under load, in TAP

With FM_LONG=1 more clients for a minute each, and wrk besides.
"""
import os
import sys

import harness
import load_test

if len(sys.argv) < 3:
    sys.exit(__doc__.splitlines()[0])
harness.BINARY = sys.argv[1]
load_test.prepare(sys.argv[2], 'sanitized' in sys.argv[3:], os.environ.get('FM_LONG') == '1')
sys.exit(harness.run([load_test], []))
