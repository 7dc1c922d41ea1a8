// SIGINT and SIGTERM as events: blocked for the whole process, read from a descriptor.
#pragma once

#include <bulkhead/base/unique_fd.hpp>

namespace bulkhead::coordinator {

class Interrupts {
 public:
  // Blocks SIGINT, SIGTERM and SIGHUP (taken for SIGTERM) and ignores SIGPIPE. Before any thread.
  Interrupts();
  int fd() const { return fd_.get(); }
  // Reads what has come; returns how many signals that were in all so far.
  int poll();
  int count() const { return count_; }
  int first_signal() const { return first_; }  // SIGINT or SIGTERM; 0: none

 private:
  base::UniqueFd fd_;
  int count_ = 0;
  int first_ = 0;
};

}  // namespace bulkhead::coordinator
