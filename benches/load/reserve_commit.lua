-- POST /reservations, then POST /reservations/{id}/commit with the id of the answer.
--
-- A thread's connections share this state: each answered reservation is put into a queue, and whichever connection is
-- free next commits it.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "shared.lua")

local RESERVE = '{"customer_id":"c%07d","feature":"attribution_runs","quantity":1,"idempotency_key":"%s"}'
local COMMIT = '{"customer_id":"c%07d"}'
local reserve_heads
local queue, oldest, newest = {}, 1, 0

commits = 0

function init(args)
   take_part(args)
   reserve_heads = heads_for("/reservations", string.format(RESERVE, 0, fresh_key()))
end

local function commit(reservation)
   local body = string.format(COMMIT, first_customer)
   made = made + 1
   return "POST /reservations/" .. reservation .. "/commit HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
      .. keys[made % #keys + 1] .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function request()
   if oldest <= newest then
      local reservation = queue[oldest]
      queue[oldest] = nil
      oldest = oldest + 1
      return commit(reservation)
   end
   local head = next_head(reserve_heads)
   return head .. string.format(RESERVE, first_customer, fresh_key())
end

function response(status, headers, body)
   if status == 201 then
      local reservation = body:match('"id":"([^"]+)"')
      if reservation then
         newest = newest + 1
         queue[newest] = reservation
      end
   elseif status == 200 then
      commits = commits + 1
   end
end
