-- Batches: their items are jobs of jobs.lua, which calls what is here when one of them runs or ends.
--
--   batch:<id>   hash: total, succeeded, failed, cancelled, expired, refused, models; and what is to be done with all items:
--                doing, cursor (the last item with which it is done), stopped ('1' if it was cancelled), touched
--   changes      set of batches that are open, or with which something is to be done
--   held         sorted set of items that may not run yet
--
-- The job of a batch is there once all of its items are.

local MARK, MOST_STEPPED = '_batch', 200

function batches.is(id)
  return string.sub(id, -#MARK) == MARK
end

-- The batch of an item; nil for a job that is none.
function batches.of(id)
  local dash = string.find(id, '-', 1, true)
  return dash and string.sub(id, 1, dash - 1) or nil
end

local function item(batch, number)
  return string.format('%s-%06d', batch, number)
end

local function known(batch, ...)
  return call('HMGET', key('batch', batch), ...)
end

local function note(batch, ...)
  call('HSET', key('batch', batch), ...)
end

-- How many items run, by batch; read once in a call, until an item ends.
local running
local function running_of(batch)
  if not running then
    running = {}
    for _, id in ipairs(call('ZRANGE', key('leases'), 0, -1)) do
      local one = batches.of(id)
      if one then
        running[one] = (running[one] or 0) + 1
      end
    end
  end
  return running[batch] or 0
end

-- Put what is known of a batch's items behind its record, which has no place.
function batches.tell(batch, found, brief)
  local total, succeeded, failed, cancelled, expired, models, doing =
    unpack(known(batch, 'total', 'succeeded', 'failed', 'cancelled', 'expired', 'models', 'doing'))
  local about = brief and '' or call('GET', key('request', batch))
  for _, value in ipairs({'', total, running_of(batch), succeeded, failed, cancelled, expired, models, doing, about}) do
    table.insert(found, value)
  end
end

-- The batch has ended, if all its items have and nothing more is to be done with them.
local function close(batch, now)
  local counts = known(batch, 'total', 'succeeded', 'failed', 'cancelled', 'expired', 'doing', 'stopped')
  local total, succeeded, failed, cancelled, expired, doing, stopped = unpack(counts)
  if doing ~= '' or get(batch, 'ended')[1] ~= '' or total - succeeded - failed - cancelled - expired ~= 0 then
    return
  end
  local state = 'cancelled'
  if stopped ~= '1' then
    if succeeded ~= '0' then
      state = 'succeeded'
    elseif failed ~= '0' or total == '0' then
      state = 'failed'
    elseif expired ~= '0' then
      state = 'expired'
    end
  end
  set(batch, 'state', state, 'ended', now)
  expire(batch, now + get(batch, 'keep_s')[1])
  tell(batch, get(batch, 'webhook')[1], now)
end

-- An item runs.
function batches.started(batch, now)
  if get(batch, 'state')[1] == 'queued' then
    set(batch, 'state', 'running', 'started', now)
  end
end

-- An item has ended.
function batches.ended(batch, state, now)
  running = nil
  call('HINCRBY', key('batch', batch), state, 1)
  close(batch, now)
end

-- Note what is to be done with all items, in place of what was to be done before.
function batches.change(batch, doing)
  note(batch, 'doing', doing, 'cursor', 0)
  if doing == 'cancel' or doing == 'retry' then
    note(batch, 'stopped', doing == 'cancel' and '1' or '0')
  end
  call('SADD', key('changes'), batch)
end

-- Note that items that ended without success wait again: 'yes', 'no' where none has its request, 'full' where they are too many.
function batches.retry(batch, most)
  local failed, cancelled, expired, refused = unpack(known(batch, 'failed', 'cancelled', 'expired', 'refused'))
  local ended, gone = unpack(get(batch, 'ended', 'gone'))
  local again = failed + cancelled + expired - refused
  if ended == '' or gone == '1' or again == 0 then
    return 'no'
  end
  if waiting() + again > tonumber(most) then
    return 'full'
  end
  set(batch, 'state', 'queued', 'started', '', 'ended', '', 'expires', '')
  call('ZREM', key('expires'), batch)
  batches.change(batch, 'retry')
  return 'yes'
end

-- The time of its results is over, or that in which it is known.
function batches.over(batch, gone, now, keep_s)
  if gone == '1' then
    call('ZREM', key('expires'), batch)
    batches.change(batch, 'forget')
  else
    batches.change(batch, 'drop')
    set(batch, 'gone', '1')
    expire(batch, now + keep_s)
  end
end

-- most, now, owner, key, digest, id, total
function todo.begin(most, now, o, k, digest, batch, total)
  local same = same_as(o, k, digest)
  if same then
    return same
  end
  if waiting() + total > tonumber(most) then
    return {'full'}
  end
  note(batch, 'total', 0, 'succeeded', 0, 'failed', 0, 'cancelled', 0, 'expired', 0, 'refused', 0, 'models', '', 'stopped', '0',
    'touched', now)
  batches.change(batch, 'open')
  return {'open'}
end

-- Each item is `width` arguments: id, custom id, owner, error, status, lines, body, request, field, value, ...
function todo.put(most, now, batch, count, width, ...)
  if known(batch, 'doing')[1] ~= 'open' then
    return 'late'
  end
  if waiting() + count > tonumber(most) then
    return 'full'
  end
  local items = {...}
  for at = 1, #items, width do
    local id, custom_id, o, why, status, lines, body, request = unpack(items, at, at + 7)
    keep(id, o, '', '', unpack(items, at + 8, at + width - 1))
    set(id, 'custom_id', custom_id, 'expires', '')
    call('HINCRBY', key('batch', batch), 'total', 1)
    if status == '0' then
      call('SET', key('request', id), request)
      call('ZADD', key('held'), 0, id)
    else
      call('HSET', key('result', id), 'lines', lines, 'body', body)
      call('HINCRBY', key('batch', batch), 'refused', 1)
      finish(id, 'failed', why, status, now)
    end
  end
  note(batch, 'touched', now)
  return 'kept'
end

-- owner, key, digest, id, models, what its front keeps of it, field, value, ...
function todo.seal(o, k, digest, batch, models, about, ...)
  local same = same_as(o, k, digest)
  if same then
    batches.change(batch, 'forget')
    return same
  end
  if known(batch, 'doing')[1] ~= 'open' then
    return {'late'}
  end
  keep(batch, o, k, digest, ...)
  set(batch, 'expires', '')
  if about ~= '' then
    call('SET', key('request', batch), about)
  end
  call('ZADD', key('owned', o), 0, batch)
  note(batch, 'models', models)
  batches.change(batch, 'release')
  return {'kept', unpack(record(batch))}
end

function todo.abandon(batch)
  if known(batch, 'doing')[1] == 'open' then
    batches.change(batch, 'forget')
  end
  return 1
end

-- owner, most, before
-- As `todo.listed`: batches of which a front keeps something.
function todo.batches(o, most, before)
  local found, from = {}, before == '' and '+' or '(' .. before
  local ids = call('ZREVRANGEBYLEX', key('owned', o), from, '-', 'LIMIT', 0, MOST_MOVED)
  for _, id in ipairs(ids) do
    if batches.is(id) and call('EXISTS', key('request', id)) == 1 then
      table.insert(found, record(id))
      if #found == tonumber(most) then
        return {id, found}
      end
    end
  end
  return {#ids < MOST_MOVED and '' or ids[#ids], found}
end

local function step(doing, batch, id, now, why)
  local state = get(id, 'state')[1]
  if doing == 'forget' or doing == 'drop' then
    forget(id)
  elseif doing == 'cancel' and (state == 'queued' or state == 'running') then
    leave(id)
    untell(id)
    finish(id, 'cancelled', why, 0, now)
  elseif doing == 'release' and call('ZREM', key('held'), id) == 1 then
    wait(id, get(id, 'not_before')[1], now)
  elseif doing == 'retry' and retry(id, now) then
    call('HINCRBY', key('batch', batch), state, -1)
  end
end

-- Do a part of what is to be done; 1 if there is more. `why` is the error of items that are cancelled.
function todo.step(now, batch, why)
  local doing, cursor, total = unpack(known(batch, 'doing', 'cursor', 'total'))
  if not doing or doing == '' or doing == 'open' then
    return 0
  end
  local last = math.min(cursor + MOST_STEPPED, tonumber(total))
  for number = cursor + 1, last do
    local id = item(batch, number)
    if call('EXISTS', key('job', id)) == 1 then
      step(doing, batch, id, now, why)
    end
  end
  if last < tonumber(total) then
    note(batch, 'cursor', last)
    return 1
  end
  call('SREM', key('changes'), batch)
  note(batch, 'doing', '')
  if doing == 'forget' then
    if get(batch, 'id')[1] then
      forget(batch)
    end
    call('DEL', key('batch', batch))
  else
    close(batch, now)
  end
  return 0
end

-- Batches with which something is to be done. Those whose items have stopped coming are to be forgotten.
function todo.changes(late)
  local found = {}
  for _, batch in ipairs(call('SMEMBERS', key('changes'))) do
    local doing, touched = unpack(known(batch, 'doing', 'touched'))
    if doing == 'open' and tonumber(touched) <= tonumber(late) then
      batches.change(batch, 'forget')
      doing = 'forget'
    end
    if doing ~= 'open' then
      table.insert(found, batch)
    end
  end
  return found
end

-- owner, id, the number of the item behind which they begin, most items, most bytes
function todo.answers(o, batch, after, most, most_bytes)
  if not owned(o, batch) then
    return {}
  end
  local found, size = {}, 0
  if get(batch, 'gone')[1] == '1' then
    return {record(batch), 0}
  end
  for number = after + 1, math.min(after + most, tonumber(known(batch, 'total')[1])) do
    local id = item(batch, number)
    local row = get(id, 'id', 'custom_id', 'state', 'error', 'status')
    local lines, body = unpack(call('HMGET', key('result', id), 'lines', 'body'))
    if lines and not body then  -- a stream of answers
      body = call('GET', key('told', id))
    end
    table.insert(found, {row[1], row[2], row[3], row[4], row[5], lines, body})
    size = size + (body and #body or 0)
    if size > tonumber(most_bytes) then
      break
    end
  end
  return {record(batch), found}
end

-- Steps of one kind, each with the number of its arguments before them. An error is the answer to its step alone.
local step, answers, at = todo[ARGV[1]], {}, 2
while at <= #ARGV do
  local most = ARGV[at]
  local done, answer = pcall(step, unpack(ARGV, at + 1, at + most))
  if not done and type(answer) ~= 'table' then
    answer = {err = tostring(answer)}
  end
  table.insert(answers, answer)
  at = at + most + 1
end
return answers
