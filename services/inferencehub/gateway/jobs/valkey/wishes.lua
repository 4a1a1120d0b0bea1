-- What is wished of models; see `routing/control/wishes.py` for what each step does.
--
--   wishes               hash: of each model the revision of its last wish, a space, and the wish
--   wish_clock           the last revision or mark that was given
--   wish_mark            the mark of the last change of `wishes`

-- Microseconds of the server's clock, or the number behind the last. A number of Lua is exact to 53 bits: until 2255.
local function tick()
  local time = call('TIME')
  local last = tonumber(call('GET', key('wish_clock')) or '0')
  local now = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2]))
  call('SET', key('wish_clock'), now)
  return now
end

function todo.wish_revision()
  return tick()
end

-- model, revision, wish
function todo.wish(model, revision, wish)
  local kept = call('HGET', key('wishes'), model)
  if not kept or tonumber(kept:match('^%d+')) < tonumber(revision) then
    call('HSET', key('wishes'), model, revision .. ' ' .. wish)
    call('SET', key('wish_mark'), tick())
  end
  return 0
end

-- mark
function todo.wishes(mark)
  local now = call('GET', key('wish_mark')) or '0'
  return now == mark and {} or {now, call('HGETALL', key('wishes'))}
end
