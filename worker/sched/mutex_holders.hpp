// Lets a report look into mutexes that others may destroy at any moment: while it lives, no Mutex
// goes away of which a goroutine's record, read since, says that it waits for it.
//
// Who waits for a mutex keeps it alive, and says so in its record; once it does not wait any more
// the record says something else, and only then may the mutex be destroyed. Its destructor, after a
// fence, looks whether anybody looks; we say that we look, and read the records after a fence. At
// least one sees the other.
#pragma once

#include <bulkhead/sched/mutex.hpp>

namespace bulkhead::sched {

class MutexHolders {
 public:
  MutexHolders();
  ~MutexHolders();
  MutexHolders(const MutexHolders&) = delete;
  MutexHolders& operator=(const MutexHolders&) = delete;

  // The goroutine that holds it; nullptr: none, or a plain thread does.
  static const Task* holder(const Mutex& mutex);
};

}  // namespace bulkhead::sched
