// The one header that a program includes: what a jobs program and a network are, and goroutines to
// use inside them.
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/network.hpp>
#include <bulkhead/program/synthetic_work.hpp>
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/context.hpp>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/err_group.hpp>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/sched/join.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
