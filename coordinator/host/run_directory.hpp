// A private directory for one command: sockets and spilled results live here.
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <string>

namespace bulkhead::coordinator {

// Owns <base>/run-XXXXXX (0700) with a file `lock` that is flock'ed for life, so that no two runs
// share it and a dead run's is recognised. <base> is $BULKHEAD_RUN_DIR, else
// $XDG_RUNTIME_DIR/bulkhead, else /tmp/bulkhead-UID: also where XDG_RUNTIME_DIR names a directory
// that is missing or another user's, as it may after su or sudo. It must be a directory of ours
// with mode 0700 and no link. Creating one sweeps the directories of dead runs in the same base; a
// lock on the base keeps the sweep from meeting a run that is just starting.
class RunDirectory {
 public:
  static Result<RunDirectory> create();
  RunDirectory(RunDirectory&&) noexcept;
  RunDirectory& operator=(RunDirectory&&) noexcept;
  ~RunDirectory();  // removes it

  const std::string& path() const { return path_; }

 private:
  RunDirectory() = default;
  std::string path_;
  base::UniqueFd lock_;
};

// Removes a directory tree without following links out of it. Returns false when something stays.
bool remove_tree(const std::string& path);

}  // namespace bulkhead::coordinator
