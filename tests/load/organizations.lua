-- Requests of many organizations, each with the key of one and about a workspace of its own. Arguments: the file of
-- keys and workspace ids, what is asked for, the number of workspaces in a list, the round's stamp.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  keys, ids = {}, {}
  for i, line in ipairs(lines(args[1])) do keys[i], ids[i] = line:match("(%S+) (%S+)") end
  what, limit, stamp, n = args[2], args[3], args[4], 0
end
function request()
  n = n + 1
  -- Far apart, and each once before any comes again.
  local i = n * 7919 % #ids + 1
  wrk.headers["Authorization"] = "Bearer " .. keys[i]
  local path = "/api/v1/workspaces"
  if what == "create" then
    local slug = "w-" .. stamp .. "-" .. number .. "-" .. n
    return wrk.format("POST", path, nil, '{"name":"' .. slug .. '","slug":"' .. slug .. '"}')
  elseif what == "list" then return wrk.format("GET", path .. "?limit=" .. limit)
  elseif what == "usage" then return wrk.format("GET", path .. "/" .. ids[i] .. "/usage?window=30d&granularity=hour")
  end
  return wrk.format("GET", path .. "/" .. ids[i])
end
