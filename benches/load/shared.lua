-- What every script shares: who calls, who is charged, and how a run is reported. Requests are put together by hand,
-- because wrk.format costs the load generator more than it costs the server to answer.
--
-- Arguments after `--`: file of API keys, first customer, number of customers, their stride, an eight-character token that makes
-- this run's idempotency keys its own.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
   thread:set("thread_number", #threads)
end

-- Reads the arguments; the scripts call it from `init`, where a thread's own state is.
function take_part(args)
   keys = {}
   for key in io.lines(args[1]) do
      table.insert(keys, key)
   end
   first_customer = tonumber(args[2])
   customers = tonumber(args[3])
   stride = tonumber(args[4])
   token = args[5]
   made = 0
   math.randomseed(thread_number * 7919 + #token)
end

-- One head for each API key. Bodies have a fixed width, so that the head never changes.
function heads_for(path, body)
   local heads = {}
   for index, key in ipairs(keys) do
      heads[index] = "POST " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " .. key
         .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n"
   end
   return heads
end

function next_head(heads)
   made = made + 1
   return heads[made % #keys + 1]
end

function pick_customer()
   if customers == 1 then
      return first_customer
   end
   return first_customer + stride * math.random(0, customers - 1)
end

-- Never used before, in this run or another, and always as long.
function fresh_key()
   return string.format("%s-%02d-%010d", token, thread_number, made)
end

function done(summary, latency, requests)
   local commits = 0
   for _, thread in ipairs(threads) do
      commits = commits + (thread:get("commits") or 0)
   end
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"duration_us":%d,"requests":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"p50_us":%d,"p99_us":%d,"commits":%d}\n',
      summary.duration, summary.requests, errors.status, errors.connect, errors.read, errors.write, errors.timeout,
      latency:percentile(50), latency:percentile(99), commits))
end
