// The waits of bulkhead/sched/poll.hpp, for ever, for one who has just found that a descriptor is
// not ready: they do not ask first. May return for nothing.
#pragma once

#include <bulkhead/base/source_site.hpp>

namespace bulkhead::sched {

void await_readable(int fd, base::SourceSite site);
void await_writable(int fd, base::SourceSite site);

}  // namespace bulkhead::sched
