-- One request again and again, each with a prompt of its own; prints one JSON line at the end.
-- BENCH_METHOD, BENCH_BODY (text with @N@ where the number goes), BENCH_HEADERS ("Name: value" lines), BENCH_FIRST;
-- BENCH_PATH with @ID@, for which the lines of BENCH_IDS stand in turn.
wrk.method = os.getenv("BENCH_METHOD") or "POST"
local body = os.getenv("BENCH_BODY") or ""
if body ~= "" then wrk.headers["Content-Type"] = "application/json" end
for line in (os.getenv("BENCH_HEADERS") or ""):gmatch("[^\n]+") do
  local k, v = line:match("^([^:]+):%s*(.*)$")
  wrk.headers[k] = v
end

local numbered = body:find("@N@", 1, true) ~= nil
local head, tail
local number = tonumber(os.getenv("BENCH_FIRST") or "0")

local path, asked, turn = os.getenv("BENCH_PATH") or "", {}, 0

if body ~= "" then wrk.body = body end
function init(args)
  for id in (os.getenv("BENCH_IDS") or ""):gmatch("[^\n]+") do
    asked[#asked + 1] = wrk.format(nil, (path:gsub("@ID@", id)))
  end
  if not numbered then return end
  wrk.body = body:gsub("@N@", string.rep("0", 12))
  local whole = wrk.format()
  local at = whole:find(string.rep("0", 12), 1, true)
  head, tail = whole:sub(1, at - 1), whole:sub(at + 12)
end

if numbered then
  function request()
    number = number + 1
    return head .. string.format("%012d", number) .. tail
  end
elseif os.getenv("BENCH_IDS") then
  function request()
    turn = turn % #asked + 1
    return asked[turn]
  end
end

function done(s, l, r)
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"non2xx":%d,"socket_errors":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d}\n',
    s.requests, s.duration / 1e6, s.errors.status,
    s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout,
    l:percentile(50), l:percentile(90), l:percentile(99)))
end
