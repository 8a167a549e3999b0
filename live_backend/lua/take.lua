-- Take ready tasks: move ids from the queues to the worker's own processing list, in one atomic step.
--
-- KEYS 1..3  the queues, high to low
-- KEYS 4     the worker's processing list; left out by `claim: pop_then_update`, which keeps no such list
-- ARGV       for each free slot the classes in the order in which to try them, as digits ("012"); the rulebook chose it
-- Returns    the ids taken, in that order
--
-- Atomic, because an id between two lists would be in neither when the worker dies.
local taken = {}
for slot = 1, #ARGV do
  local id = false
  for class in string.gmatch(ARGV[slot], "%d") do
    id = redis.call("LPOP", KEYS[tonumber(class) + 1])
    if id then break end
  end
  if not id then break end
  if KEYS[4] then redis.call("RPUSH", KEYS[4], id) end
  taken[#taken + 1] = id
end
return taken
