-- Each request creates a workspace of its own; the first argument makes the slugs of a round unique, the second is the
-- tenant, where a server wants it in the body.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  n, stamp = 0, args[1]
  tenant = args[2] and ',"tenant":"' .. args[2] .. '"' or ""
end
function request()
  n = n + 1
  local slug = "w-" .. stamp .. "-" .. number .. "-" .. n
  return wrk.format("POST", nil, nil, '{"name":"' .. slug .. '","slug":"' .. slug .. '"' .. tenant .. "}")
end
