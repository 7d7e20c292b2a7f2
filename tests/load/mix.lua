-- Nine reads (six workspaces, a list, stats, usage) to one write; argument: the file of workspace ids.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  ids, stamp, n = lines(args[1]), args[2], 0
end
function request()
  n = n + 1
  local path = "/api/v1/workspaces/" .. ids[n * 7 % #ids + 1]
  local turn = n % 10
  if turn == 0 then
    local slug = "m-" .. stamp .. "-" .. number .. "-" .. n
    return wrk.format("POST", "/api/v1/workspaces", nil, '{"name":"' .. slug .. '","slug":"' .. slug .. '"}')
  elseif turn == 1 then return wrk.format("GET", "/api/v1/workspaces?limit=50")
  elseif turn == 2 then return wrk.format("GET", path .. "/stats")
  elseif turn == 3 then return wrk.format("GET", path .. "/usage?window=7d&granularity=day")
  end
  return wrk.format("GET", path)
end
