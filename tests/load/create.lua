-- Each request creates a workspace of its own.
local thread_count = 0
function setup(thread)
  thread:set("id", thread_count)
  thread_count = thread_count + 1
end
function init(args)
  n = 0
  stamp = args[1] or "x"
end
function request()
  n = n + 1
  local slug = "w-" .. stamp .. "-" .. id .. "-" .. n
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer msk_u_dev"
  return wrk.format("POST", nil, nil, '{"name":"' .. slug .. '","slug":"' .. slug .. '"}')
end
