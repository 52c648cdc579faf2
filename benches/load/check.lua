-- POST /entitlements/check; the bare handler takes the very same requests.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "shared.lua")

local BODY = '{"customer_id":"c%07d","feature":"attribution_runs","quantity":1}'
local heads

function init(args)
   take_part(args)
   heads = heads_for("/entitlements/check", string.format(BODY, 0))
end

function request()
   return next_head(heads) .. string.format(BODY, pick_customer())
end
