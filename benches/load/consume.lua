-- POST /entitlements/consume: every request with an idempotency key of its own and the next API key.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "shared.lua")

local BODY = '{"customer_id":"c%07d","feature":"attribution_runs","quantity":1,"idempotency_key":"%s"}'
local heads

function init(args)
   take_part(args)
   heads = heads_for("/entitlements/consume", string.format(BODY, 0, fresh_key()))
end

function request()
   local head = next_head(heads)
   return head .. string.format(BODY, pick_customer(), fresh_key())
end
