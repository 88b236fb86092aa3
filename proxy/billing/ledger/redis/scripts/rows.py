"""Scripts that read and write any key of the ledger, for dumps."""

from __future__ import annotations

from proxy.billing.ledger.redis.scripts.library import script

# ARGV: a command, the key without BASE, the command's other arguments.
COMMAND = script("return redis.call(ARGV[1], base .. ARGV[2], unpack(ARGV, 3))")

# ARGV: cursor. Replies the next cursor and keys without BASE.
SCAN = script("""
local pattern = string.gsub(base, '[%*%?%[%]%^\\\\]', '\\\\%0') .. '*'
local reply = redis.call('SCAN', ARGV[1], 'MATCH', pattern, 'COUNT', 500)
for i, key in ipairs(reply[2]) do reply[2][i] = string.sub(key, #base + 1) end
return reply
""")
