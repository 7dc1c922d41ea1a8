// The one header that a program includes: what a jobs program is, and goroutines to use inside it.
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <bulkhead/sched/scheduler.hpp>
