-- Take ready tasks: move ids from the queues to the worker's own processing list, in one atomic step.
--
-- KEYS 1..3  the queues, high to low
-- KEYS 4     the worker's processing list; left out by `claim: pop_then_update`, which keeps no such list
-- ARGV 1     the number of this operation: the same number asks for the same answer, should the first have been lost
-- ARGV 2     seconds after which the list is forgotten
-- ARGV 3..   for each run of slots how many they are and the classes in the order in which to try them, as digits
--            ("5", "012"); the rulebook chose it
-- Returns    the ids taken, in that order
--
-- Atomic, because an id between two lists would be in neither when the worker dies. The list begins with the number of
-- the operation. A new number says that everything taken before has been claimed: its RUNNING row is its record now.
local list = KEYS[4]
if list then
  if redis.call("LINDEX", list, 0) == ARGV[1] then return redis.call("LRANGE", list, 1, -1) end
  redis.call("DEL", list)
end
local taken = {}
for run = 3, #ARGV, 2 do
  local wanted = tonumber(ARGV[run])
  for class in string.gmatch(ARGV[run + 1], "%d") do
    if wanted == 0 then break end
    local ids = redis.call("LPOP", KEYS[tonumber(class) + 1], wanted)
    for _, id in ipairs(ids or {}) do
      taken[#taken + 1] = id
      wanted = wanted - 1
    end
  end
  if wanted > 0 then break end
end
if list and #taken > 0 then
  redis.call("RPUSH", list, ARGV[1], unpack(taken))
  redis.call("EXPIRE", list, ARGV[2])
end
return taken
