-- Files that callers have sent. What is forgotten by its time goes by the server's own clock.
--
--   file:<id>      hash: o, expires, size, known, data
--   files:<owner>  sorted set of an owner's files, by when they are forgotten: id, ':' and size

local function of(id, size)
  return id .. ':' .. size
end

-- The size of a file, if it is there and belongs to an owner.
local function has_file(now, o, id)
  local owner, expires, size = unpack(call('HMGET', key('file', id), 'o', 'expires', 'size'))
  return owner == o and tonumber(expires) > tonumber(now) and size
end

-- now, owner, id, expires, size, most files, most bytes, what is known, data
-- How many there are and how large, if there is no room.
function todo.add_file(now, o, id, expires, size, most, most_bytes, known, data)
  call('ZREMRANGEBYSCORE', key('files', o), '-inf', now)
  local there, bytes = call('ZRANGE', key('files', o), 0, -1), 0
  for _, one in ipairs(there) do
    bytes = bytes + string.match(one, ':(%d+)$')
  end
  if #there >= tonumber(most) or bytes + size > tonumber(most_bytes) then
    return {#there, bytes}
  end
  local seconds = math.ceil(expires - now)
  call('HSET', key('file', id), 'o', o, 'expires', expires, 'size', size, 'known', known, 'data', data)
  call('EXPIRE', key('file', id), seconds)
  call('ZADD', key('files', o), expires, of(id, size))
  if call('TTL', key('files', o)) < seconds then
    call('EXPIRE', key('files', o), seconds)
  end
  return {}
end

-- now, owner, id, field
function todo.file(now, o, id, field)
  return has_file(now, o, id) and call('HGET', key('file', id), field)
end

-- now, owner
function todo.files(now, o)
  local found = {}
  for _, one in ipairs(call('ZRANGEBYSCORE', key('files', o), '(' .. now, '+inf')) do
    local known = call('HGET', key('file', string.match(one, '^(.*):')), 'known')
    if known then
      table.insert(found, known)
    end
  end
  return found
end

-- now, owner, id
function todo.delete_file(now, o, id)
  local size = has_file(now, o, id)
  if not size then
    return 0
  end
  call('DEL', key('file', id))
  call('ZREM', key('files', o), of(id, size))
  return 1
end
