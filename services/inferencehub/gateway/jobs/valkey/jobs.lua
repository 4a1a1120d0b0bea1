-- All changes of jobs, each in one step of the server. KEYS[1] is the beginning of all keys, ARGV[1] what to do: the name of
-- a function of `todo`. Behind it are the steps, each the number of its arguments and these. The script runs from its top to
-- its end for every call, so steps that come together are one call.
--
--   job:<id>             hash: what is known of a job
--   request:<id>         what it runs; of a batch, what its front keeps of it
--   result:<id>          hash: lines, body; without the body if it is a stream
--   told:<id>            what an attempt that runs has answered, or the body of a result that is a stream
--   key:<owner>:<key>    id of the job with an idempotency key
--   wait:<lane>:<owner>  sorted set of jobs that may run now, by priority and age
--   later                sorted set of jobs that may not run yet, by the time when they may
--   flows:<lane>         sorted set of owners who have such jobs, by their turn: the least comes next
--   queued:<lane>        sorted set of jobs that may run now, by the time when they came
--   lanes                set of lanes with such jobs
--   leases               sorted set of jobs that run, by the end of their lease
--   expires              sorted set of all other jobs, by when they are given up or forgotten
--   owned:<owner>        sorted set of an owner's jobs, by id; of those of batches, only the batch
--   webhooks:<host>      sorted set of jobs whose webhook is to be delivered there, by when
--   webhooks             sorted set of these hosts, by when to look at them
--   void:<claim>         a claim that was taken back, and takes nothing any more
--   swept                when leases were last looked at, by the server's clock
--
-- What is only for files is in files.lua, for quotas in quotas.lua, for wishes of models in wishes.lua, and for batches in
-- batches.lua: they are loaded behind this file, in this order.
--
-- Owners, lanes and idempotency keys come in a form without ':'; 'l', 'o' and 'k' of a job are its own so.

local PRIORITIES, MOST_MOVED, MOST_LISTED = 9, 1000, 200
local MOST_SILENT_S = 3 -- between two looks at leases; gateways look each second
local VOID_S = 3600
local MOST_LOSSES = 2
local LONGEST_S = 86400
local RECORD = {'id', 'model', 'version', 'state', 'priority', 'attempts', 'created', 'not_before', 'started', 'ended',
  'expires', 'status', 'error', 'webhook', 'progress', 'told'}

local call = redis.call
local prefix = KEYS[1]
local todo, batches = {}, {}

-- A key of one to three parts. It is made some thirty times for a job, so without a table.
local function key(first, second, third)
  if third then
    return prefix .. first .. ':' .. second .. ':' .. third
  end
  return second and prefix .. first .. ':' .. second or prefix .. first
end

local function get(id, ...)
  return call('HMGET', key('job', id), ...)
end

local function set(id, ...)
  call('HSET', key('job', id), ...)
end

-- `brief` is without what the front of a batch keeps of it.
local function record(id, brief)
  local found = get(id, unpack(RECORD))
  if batches.is(id) then
    batches.tell(id, found, brief)
  end
  return found
end

-- A job of an owner is there.
local function owned(owner, id)
  return get(id, 'o')[1] == owner
end

-- A job may run now. An owner who had none waiting takes the turn of who is next, and makes up for nothing.
local function enter_as(id, lane, o, priority, created)
  -- Higher priorities first, then the older: milliseconds since 1970 have 13 digits.
  local score = (PRIORITIES - priority) * 1e13 + math.floor(created * 1000)
  call('ZADD', key('wait', lane, o), score, id)
  call('ZADD', key('queued', lane), created, id)
  call('SADD', key('lanes'), lane)
  if not call('ZSCORE', key('flows', lane), o) then
    local first = call('ZRANGE', key('flows', lane), 0, 0, 'WITHSCORES')
    call('ZADD', key('flows', lane), first[2] or 0, o)
  end
end

local function enter(id)
  enter_as(id, unpack(get(id, 'l', 'o', 'priority', 'created')))
end

-- A lane, or an owner of jobs for it, that has none waiting any more is forgotten.
local function tidy(lane, o)
  if call('EXISTS', key('wait', lane, o)) == 0 then
    call('ZREM', key('flows', lane), o)
    if call('EXISTS', key('queued', lane)) == 0 then
      call('SREM', key('lanes'), lane)
    end
  end
end

-- A job waits no longer.
local function leave(id)
  local lane, o = unpack(get(id, 'l', 'o'))
  call('ZREM', key('later'), id)
  if batches.of(id) then
    call('ZREM', key('held'), id)
  end
  call('ZREM', key('wait', lane, o), id)
  call('ZREM', key('queued', lane), id)
  tidy(lane, o)
end

local function expire(id, at)
  set(id, 'expires', at)
  call('ZADD', key('expires'), at, id)
end

-- A job waits, with its time to wait begun anew.
local function wait(id, not_before, now)
  set(id, 'state', 'queued', 'not_before', not_before, 'gone', '')
  call('ZREM', key('leases'), id)
  expire(id, math.max(now, not_before) + get(id, 'keep_s')[1])
  if tonumber(not_before) > tonumber(now) then
    call('ZADD', key('later'), not_before, id)
  else
    enter(id)
  end
end

-- A webhook is to be delivered at a time.
local function owe(id, host, at)
  call('ZADD', key('webhooks', host), at, id)
  call('ZADD', key('webhooks'), 'LT', at, host)
end

-- There is nothing to deliver.
local function settle(id, host)
  call('ZREM', key('webhooks', host), id)
  if call('ZCARD', key('webhooks', host)) == 0 then
    call('ZREM', key('webhooks'), host)
  end
end

-- How a webhook stands after a change; nil where a job has none.
local function change_webhook(id, text, change)
  if text then
    local webhook = cjson.decode(text)
    change(webhook)
    set(id, 'webhook', cjson.encode(webhook))
    return webhook
  end
end

-- The end of a job, or of a batch, is to be told; `text` is its webhook, if it has one.
local function tell(id, text, now)
  change_webhook(id, text, function(webhook)
    webhook.state, webhook.ends, webhook.attempts, webhook.status, webhook.error = 'pending', webhook.ends + 1, 0, 0, ''
    owe(id, webhook.host, now)
  end)
end

-- It waits again: its next end is told, and the last one not any more.
local function withdraw(id)
  change_webhook(id, get(id, 'webhook')[1], function(webhook)
    webhook.state, webhook.attempts, webhook.status, webhook.error = 'pending', 0, 0, ''
    settle(id, webhook.host)
  end)
end

-- A job has ended; from now on no attempt holds it. An item is kept as long as its batch.
local function finish(id, state, why, status, now, told)
  local keep_s, webhook = unpack(get(id, 'keep_s', 'webhook'))
  local expires, batch = now + keep_s, batches.of(id)
  set(id, 'state', state, 'error', why, 'status', status, 'ended', now, 'told', told or 0, 'expires', expires)
  call('ZREM', key('leases'), id)
  if batch then
    call('ZREM', key('expires'), id)
    batches.ended(batch, state, now)
  else
    call('ZADD', key('expires'), expires, id)
    tell(id, webhook, now)
  end
end

-- Whether an attempt holds its job, and how many bytes it has told.
local function holds(id, attempt)
  local state, attempts, told = unpack(get(id, 'state', 'attempts', 'told'))
  return state == 'running' and attempts == attempt, tonumber(told or 0)
end

-- An attempt has no result: what it told goes.
local function untell(id)
  call('DEL', key('told', id))
  set(id, 'progress', '', 'told', 0)
end

local function forget(id)
  local o, k, text = unpack(get(id, 'o', 'k', 'webhook'))
  if text then
    settle(id, cjson.decode(text).host)
  end
  leave(id)
  call('ZREM', key('leases'), id)
  call('ZREM', key('expires'), id)
  call('ZREM', key('owned', o), id)
  if k ~= '' then
    call('DEL', key('key', o, k))
  end
  call('DEL', key('job', id), key('request', id), key('result', id), key('told', id))
end

local function move_due(now)
  for _, id in ipairs(call('ZRANGEBYSCORE', key('later'), '-inf', now, 'LIMIT', 0, MOST_MOVED)) do
    call('ZREM', key('later'), id)
    enter(id)
  end
end

local function put_back(id, attempt, not_before, lost, refused, now, why)
  if not holds(id, attempt) then
    return
  end
  local losses = call('HINCRBY', key('job', id), 'losses', lost)
  call('HINCRBY', key('job', id), 'refusals', refused)
  untell(id)
  if losses >= MOST_LOSSES then
    finish(id, 'failed', why, 0, now)
  else
    wait(id, not_before, now)
  end
end

-- How many jobs wait.
local function waiting()
  local found = call('ZCARD', key('later')) + call('ZCARD', key('held'))
  for _, lane in ipairs(call('SMEMBERS', key('lanes'))) do
    found = found + call('ZCARD', key('queued', lane))
  end
  return found
end

-- The answer to a job with the idempotency key of another one; nil if there is none.
local function same_as(o, k, digest)
  local same = k ~= '' and call('GET', key('key', o, k))
  if not same then
    return nil
  end
  if get(same, 'digest')[1] ~= digest then
    return {'reused', same}
  end
  return {'kept', unpack(record(same))}
end

-- Keep a new job, which does not wait yet.
local function keep(id, o, k, digest, ...)
  set(id, 'id', id, 'o', o, 'k', k, 'digest', digest, 'state', 'queued', 'attempts', '0', 'refusals', '0', 'losses', '0',
    'started', '', 'ended', '', 'status', '0', 'error', '', 'progress', '', 'told', '0', ...)
  if k ~= '' then
    call('SET', key('key', o, k), id)
  end
end

local at_add -- how many jobs wait, while new ones are added, for all steps of a call

-- most, now, owner, key, digest, id, request, lane, priority, created, not before, expires, field, value, ...
function todo.add(most, now, o, k, digest, id, request, lane, priority, created, not_before, expires, ...)
  local same = same_as(o, k, digest)
  if same then
    return same
  end
  at_add = at_add or waiting()
  if at_add >= tonumber(most) then
    return {'full'}
  end
  at_add = at_add + 1
  keep(id, o, k, digest, 'expires', expires, 'gone', '', ...)
  call('SET', key('request', id), request)
  call('ZADD', key('owned', o), 0, id)
  call('ZADD', key('expires'), expires, id)
  if tonumber(not_before) > tonumber(now) then
    call('ZADD', key('later'), not_before, id)
  else
    enter_as(id, lane, o, priority, created)
  end
  return {'new'}
end

-- While the server could not be asked, no lease could be renewed: that time does not count.
local function stand_still()
  local seconds, micros = unpack(call('TIME'))
  local at, before = seconds + micros / 1e6, call('GET', key('swept'))
  call('SET', key('swept'), string.format('%.3f', at))
  local silent = before and at - before or 0
  if silent > MOST_SILENT_S then
    local leases = call('ZRANGE', key('leases'), 0, -1, 'WITHSCORES')
    for place = 1, #leases, 2 do
      call('ZADD', key('leases'), leases[place + 1] + silent, leases[place])
    end
  end
end

-- name of the claim, lease, now, lane, rows, whether they must not run twice, ...
function todo.claim(claim_, until_, now, ...)
  stand_still()
  if call('EXISTS', key('void', claim_)) == 1 then
    return {}
  end
  move_due(now)
  local claims, places = {}, {...}
  for place = 1, #places, 3 do
    local lane, most, once = places[place], tonumber(places[place + 1]), places[place + 2]
    while most > 0 do
      local o = call('ZRANGE', key('flows', lane), 0, 0)[1]
      if not o then
        break
      end
      local id = call('ZPOPMIN', key('wait', lane, o))[1]
      call('ZREM', key('queued', lane), id)
      call('ZREM', key('expires'), id)
      local claim = get(id, 'id', 'attempts', 'caller', 'tenant', 'owner', 'weight', 'lane', 'rows', 'once', 'refusals', 'losses')
      claim[2], claim[9] = claim[2] + 1, once
      set(id, 'state', 'running', 'attempts', claim[2], 'started', now, 'once', once, 'claim', claim_)
      if batches.of(id) then
        batches.started(batches.of(id), now)
      end
      call('ZADD', key('leases'), until_, id)
      table.insert(claim, call('GET', key('request', id)))
      table.insert(claims, claim)
      call('ZINCRBY', key('flows', lane), claim[8] / claim[6], o)
      tidy(lane, o)
      most = most - claim[8]
    end
  end
  return claims
end

-- What a claim took runs nowhere, and a claim that comes later takes nothing: who made it has got no answer.
function todo.unclaim(now, claim_)
  call('SET', key('void', claim_), 1, 'EX', VOID_S)
  for _, id in ipairs(call('ZRANGE', key('leases'), 0, -1)) do
    if get(id, 'claim')[1] == claim_ then
      wait(id, now, now)
    end
  end
  return 1
end

-- A lease is never made shorter: what a server that stood still has read it may do in any order.
-- lease, id, attempt, ...
function todo.renew(lease, ...)
  stand_still()
  local held, attempts = {}, {...}
  for place = 1, #attempts, 2 do
    local id = attempts[place]
    if holds(id, attempts[place + 1]) then
      call('ZADD', key('leases'), 'GT', lease, id)
      table.insert(held, id)
      table.insert(held, attempts[place + 1])
    end
  end
  return held
end

-- `streamed` is how many bytes of the body are a stream of answers: all of them, or none
function todo.finish(now, id, attempt, state, why, status, lines, body, streamed)
  local held, told = holds(id, attempt)
  if not held then
    return 0
  end
  if told > 0 then
    call('DEL', key('told', id))
  end
  if tonumber(streamed) > 0 then
    call('HSET', key('result', id), 'lines', lines)
    call('SET', key('told', id), body)
  elseif tonumber(status) > 0 then
    call('HSET', key('result', id), 'lines', lines, 'body', body)
  end
  finish(id, state, why, status, now, streamed)
  if state == 'succeeded' then
    call('DEL', key('request', id))
  end
  return 1
end

function todo.put_back(now, id, attempt, not_before, lost, refused, why)
  put_back(id, attempt, not_before, lost, refused, now, why)
  return 1
end

-- How many bytes there are now; -1 if the attempt does not hold its job.
function todo.tell(id, attempt, at, data, progress)
  local held, told = holds(id, attempt)
  if not held then
    return -1
  end
  if progress ~= '' then
    set(id, 'progress', progress)
  end
  at = tonumber(at)
  if at <= told and at + #data > told then
    told = call('APPEND', key('told', id), string.sub(data, told - at + 1))
    set(id, 'told', told)
  end
  return told
end

function todo.told(o, id, attempt, after, most)
  if not owned(o, id) then
    return {}
  end
  local attempts, told = unpack(get(id, 'attempts', 'told'))
  if attempts ~= attempt or tonumber(after) >= tonumber(told or 0) then
    return {''}
  end
  return {call('GETRANGE', key('told', id), after, after + most - 1)}
end

function todo.job(o, id)
  if not owned(o, id) then
    return {}
  end
  local found = record(id)
  if found[4] == 'queued' and not batches.is(id) then
    local place = call('ZRANK', key('wait', get(id, 'l')[1], o), id)
    if place then
      found[#RECORD + 1] = place
    end
  end
  return found
end

function todo.result(o, id)
  if not owned(o, id) then
    return {}
  end
  local found = record(id)
  local result = call('HMGET', key('result', id), 'lines', 'body')
  if result[1] and not result[2] then
    result[2] = call('GET', key('told', id))
  end
  return {found, result}
end

-- owner, state, model, most, before
-- The last one that was looked at, '' if there are no more, and those that are wanted. Few are looked at in a step, so that
-- others have their turn.
function todo.listed(o, state, model, most, before)
  local found, from = {}, before == '' and '+' or '(' .. before
  local ids = call('ZREVRANGEBYLEX', key('owned', o), from, '-', 'LIMIT', 0, MOST_LISTED)
  for _, id in ipairs(ids) do
    local at, of = unpack(get(id, 'state', 'model'))
    if (state == '' or at == state) and (model == '' or of == model) then
      table.insert(found, record(id, true))
      if #found == tonumber(most) then
        return {id, found}
      end
    end
  end
  return {#ids < MOST_LISTED and '' or ids[#ids], found}
end

function todo.cancel(now, o, id, why)
  if not owned(o, id) then
    return {}
  end
  local state = get(id, 'state')[1]
  if state == 'queued' or state == 'running' then
    if batches.is(id) then
      batches.change(id, 'cancel')
    else
      leave(id)
      untell(id)
      finish(id, 'cancelled', why, 0, now)
    end
  end
  return record(id)
end

-- A job that has ended without success, and whose request is kept, waits again as if it were new; whether it does.
local function retry(id, now)
  local state = get(id, 'state')[1]
  local ended = state == 'failed' or state == 'cancelled' or state == 'expired'
  if not ended or call('EXISTS', key('request', id)) == 0 then
    return false
  end
  call('DEL', key('result', id))
  untell(id)
  set(id, 'refusals', 0, 'losses', 0, 'status', 0, 'error', '', 'started', '', 'ended', '')
  wait(id, now, now)
  return true
end

function todo.retry(most, now, o, id)
  if not owned(o, id) then
    return {}
  end
  local again
  if batches.is(id) then
    again = batches.retry(id, most)
  else
    again = retry(id, now) and 'yes' or 'no'
  end
  if again == 'yes' then
    withdraw(id)
  end
  return {again, unpack(record(id))}
end

function todo.delete(o, id)
  if not owned(o, id) then
    return 0
  end
  forget(id)
  if batches.is(id) then
    batches.change(id, 'forget')
  end
  return 1
end

-- Take back what was lost, give up what waited too long, and forget what is old; how many were lost, and whether there may be
-- more to forget.
function todo.sweep(now, lost, once, waited)
  stand_still()
  local ids = call('ZRANGEBYSCORE', key('leases'), '-inf', now, 'LIMIT', 0, MOST_MOVED)
  for _, id in ipairs(ids) do
    local attempt, only = unpack(get(id, 'attempts', 'once'))
    if only == '1' then
      untell(id)
      finish(id, 'failed', once, 0, now)
    else
      put_back(id, attempt, now, 1, 0, now, lost)
    end
  end
  move_due(now)
  local over = call('ZRANGEBYSCORE', key('expires'), '-inf', now, 'LIMIT', 0, MOST_MOVED)
  for _, id in ipairs(over) do
    local state, gone, keep_s, ended, text = unpack(get(id, 'state', 'gone', 'keep_s', 'ended', 'webhook'))
    if state == 'queued' then
      leave(id)
      finish(id, 'expired', waited, 0, now)
    elseif gone == '1' and text and cjson.decode(text).state == 'pending' and ended + LONGEST_S > tonumber(now) then
      expire(id, now + keep_s)  -- it is known until its webhook is over
    elseif batches.is(id) then
      batches.over(id, gone, now, keep_s)
    elseif gone == '1' then
      forget(id)
    else
      call('DEL', key('request', id), key('result', id), key('told', id))
      set(id, 'gone', '1', 'told', 0)
      expire(id, now + keep_s)
    end
  end
  return {#ids, #over}
end

function todo.waiting(now)
  move_due(now)
  local found = {}
  for _, lane in ipairs(call('SMEMBERS', key('lanes'))) do
    local oldest = call('ZRANGE', key('queued', lane), 0, 0, 'WITHSCORES')
    table.insert(found, {lane, call('ZCARD', key('queued', lane)), oldest[2]})
  end
  return found
end

-- now, lease, most, each, host, places, ...
function todo.claim_webhooks(now, lease, most, each, ...)
  local found, places, flat = {}, {}, {...}
  for place = 1, #flat, 2 do
    places[flat[place]] = flat[place + 1]
  end
  for _, host in ipairs(call('ZRANGEBYSCORE', key('webhooks'), '-inf', now, 'LIMIT', 0, MOST_MOVED)) do
    local few = math.min(places[host] or each, most - #found)
    if few > 0 then
      for _, id in ipairs(call('ZRANGEBYSCORE', key('webhooks', host), '-inf', now, 'LIMIT', 0, few)) do
        call('ZADD', key('webhooks', host), lease, id)
        change_webhook(id, get(id, 'webhook')[1], function(webhook)
          webhook.attempts = webhook.attempts + 1
        end)
        table.insert(found, record(id))
      end
      local first = call('ZRANGE', key('webhooks', host), 0, 0, 'WITHSCORES')
      call('ZADD', key('webhooks'), math.max(first[2], now), host)  -- behind the hosts that have waited longer
    end
  end
  return found
end

function todo.webhook_done(id, ends, attempts, state, status, why, due)
  local text = get(id, 'webhook')[1]
  local before = text and cjson.decode(text)
  if not before or before.ends ~= tonumber(ends) or before.attempts ~= tonumber(attempts) then
    return 0
  end
  local webhook = change_webhook(id, text, function(webhook)
    webhook.state, webhook.status, webhook.error = state, tonumber(status), why
  end)
  settle(id, webhook.host)
  if due ~= '' then
    owe(id, webhook.host, due)
  end
  return 1
end
