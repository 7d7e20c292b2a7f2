-- Each request creates a workspace of its own; the argument makes the slugs of a round unique.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  n, stamp = 0, args[1]
end
function request()
  n = n + 1
  local slug = "w-" .. stamp .. "-" .. number .. "-" .. n
  return wrk.format("POST", nil, nil, '{"name":"' .. slug .. '","slug":"' .. slug .. '"}')
end
