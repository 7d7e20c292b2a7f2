-- Each request creates a workspace of its own; the first argument makes the slugs of a round unique, the second is the
-- tenant, where a server wants it in the body, and with a third each request has an Idempotency-Key of its own.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  authorized()
  n, stamp = 0, args[1]
  tenant = args[2] and args[2] ~= "" and ',"tenant":"' .. args[2] .. '"' or ""
  once = args[3]
  -- A number in front that is spread over all there are, as in a UUID of version 4.
  spread = 2654435761
end
function request()
  n = n + 1
  local slug = "w-" .. stamp .. "-" .. number .. "-" .. n
  if once then
    wrk.headers["Idempotency-Key"] = string.format("%08x-%s", n * spread % 4294967296, slug)
  end
  return wrk.format("POST", nil, nil, '{"name":"' .. slug .. '","slug":"' .. slug .. '"' .. tenant .. "}")
end
