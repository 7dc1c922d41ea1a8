// Waits, again and again, for one descriptor to become readable, for one who has just found each
// time that it is not: registered once, so that a wait is the sleep alone. For descriptors to
// which every arrival is an event (EPOLLET).
//
// May return for nothing. One goroutine at a time; on a plain thread, and under a Chooser, as
// await_readable(). It may outlive the scheduler, and be waited on in another one.
#pragma once

#include <bulkhead/base/source_site.hpp>
#include <memory>

namespace bulkhead::sched {

struct Standing;

class StandingRead {
 public:
  StandingRead() = default;
  StandingRead(StandingRead&&) noexcept = default;
  StandingRead& operator=(StandingRead&&) noexcept = default;

  // `fd`: always the same file.
  void wait(int fd, base::SourceSite site);

 private:
  std::shared_ptr<Standing> standing_;
};

}  // namespace bulkhead::sched
