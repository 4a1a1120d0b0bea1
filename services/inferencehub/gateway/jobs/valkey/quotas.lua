-- What is used of quotas of a day; see `calls/limits/quotas.py` for what each step does.
--
--   quota:<day>:<name>   hash: used, and for each holder of a lease the number of its last ask and what that was granted

local KEPT_S = 2 * 86400 -- since the last ask

-- day, name, holder, number, most, need, least, block, have, back, owed, share, most of a block
function todo.lease(day, name, holder, number, most, need, least, block, have, back, owed, share, most_block)
  local quota = key('quota', day, name)
  local used, last = unpack(call('HMGET', quota, 'used', 'by:' .. holder))
  used = tonumber(used or '0')
  if last then
    local before, granted = last:match('^(%d+) (%d+)$')
    if before == number then
      return {tonumber(granted), used}
    elseif tonumber(before) > tonumber(number) then
      return {0, used}
    end
  end
  used = math.max(0, used - back) + owed
  local left = math.max(0, most - used)
  local granted = left >= tonumber(least) and math.min(left, need) or 0
  if block == '1' then
    granted = granted + math.max(0, math.min(most_block, math.floor((left - granted) / share)) - have)
  end
  call('HSET', quota, 'used', used + granted, 'by:' .. holder, number .. ' ' .. string.format('%.0f', granted))
  call('EXPIRE', quota, KEPT_S)
  return {granted, used + granted}
end

-- day, name
function todo.quota_used(day, name)
  return tonumber(call('HGET', key('quota', day, name), 'used') or '0')
end
