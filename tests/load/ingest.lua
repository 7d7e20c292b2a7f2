-- A batch of 100 compute events a request, in order for each computer; arguments: the file of ids of external computers, the
-- round's stamp, the present second.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  ids, stamp, second, n = lines(args[1]), args[2], tonumber(args[3]), 0
end
function request()
  local events = {}
  for i = 1, 100 do
    n = n + 1
    local at = math.floor(n / #ids) -- milliseconds: each computer switches once in each
    events[i] = string.format(
      '{"id":"%s-%d-%d","type":"computer.%s","subject":"%s","time":"%s.%03dZ","data":{}}',
      stamp, number, n, at % 2 == 0 and "started" or "stopped", ids[n % #ids + 1],
      os.date("!%Y-%m-%dT%H:%M:%S", second + math.floor(at / 1000)), at % 1000)
  end
  return wrk.format("POST", nil, nil, '{"events":[' .. table.concat(events, ",") .. "]}")
end
