-- What the request scripts share: each thread of wrk knows its number.
local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

-- The scripts load this file by the path in LOAD_LIB, since wrk runs them from anywhere.
function authorized()
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("LOAD_KEY")
end

-- The lines of a file: ids that the run has made.
function lines(file)
  local all = {}
  for line in io.lines(file) do all[#all + 1] = line end
  return all
end
