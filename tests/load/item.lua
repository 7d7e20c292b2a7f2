-- Reads one item of a table of DynamoDB's, or writes a new one; arguments: get or put, and the round's stamp.
dofile(os.getenv("LOAD_LIB"))
function init(args)
  what, stamp, n = args[1], args[2], 0
  -- An emulator finds the service in the signature's scope; it does not check the signature.
  wrk.headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/dynamodb/aws4_request, "
    .. "SignedHeaders=host, Signature=0"
  wrk.headers["Content-Type"] = "application/x-amz-json-1.0"
  wrk.headers["X-Amz-Target"] = "DynamoDB_20120810." .. (what == "get" and "GetItem" or "PutItem")
end
function request()
  if what == "get" then
    return wrk.format("POST", "/", nil, '{"TableName":"workspaces","Key":{"slug":{"S":"clinic"}}}')
  end
  n = n + 1
  local slug = "w-" .. stamp .. "-" .. number .. "-" .. n
  return wrk.format("POST", "/", nil,
    '{"TableName":"workspaces","Item":{"slug":{"S":"' .. slug .. '"},"name":{"S":"' .. slug .. '"}}}')
end
