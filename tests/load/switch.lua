-- Stops and starts computers, each call another one; the argument names the file of their ids.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  ids, n = lines(args[1]), 0
end
function request()
  n = n + 1
  local turn = math.floor((n - 1) / #ids) % 2 == 0 and "stop" or "start"
  return wrk.format("POST", "/api/v1/computers/" .. ids[(n - 1) % #ids + 1] .. "/" .. turn, nil, "{}")
end
