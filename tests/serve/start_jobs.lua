-- SPDX-License-Identifier: Apache-2.0
-- start_jobs.lua - for wrk: every request starts a job under one of 1000 keys
local n = 0
request = function()
    n = n + 1
    return wrk.format('POST', '/api/process', nil, '{"key":"k' .. n % 1000 .. '","kind":"sleep","ms":0}')
end
