// Every mistake on a command line, and the one line that answers it.
#include "cli/values.hpp"
#include "options_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

TEST_F(OptionsTest, EveryMistakeIsOneLineThatSaysWhatWouldBeRight) {
  struct Case {
    std::vector<std::string> words;
    int code;
    const char* message;
  };
  const Case cases[] = {
      {{}, 2, "no command; commands: run, compare, bench, list, doctor; see `bulkhead --help`"},
      {{"compair"},
       2,
       "unknown command 'compair'; did you mean 'compare'? commands: run, compare, bench, list, "
       "doctor"},
      {{"frobnicate"},
       2,
       "unknown command 'frobnicate'; commands: run, compare, bench, list, doctor"},
      {{"--workers", "2"},
       2,
       "'--workers' where a command is due; flags follow the command; commands: run, compare, "
       "bench, list, doctor"},
      {{"run"}, 2, "run needs a SCENARIO, such as wordcount or primes; see `bulkhead list`"},
      {{"run", "--input", "/"},
       2,
       "run needs a SCENARIO before --input, such as wordcount; see `bulkhead list`"},
      {{"run", ""}, 2, "the SCENARIO is empty; see `bulkhead list` for the built-in ones"},
      {{"run", "a.toml"},
       2,
       "'a.toml': scenario files are not in this build; see `bulkhead list` for the built-in "
       "scenarios"},
      {{"run", "./primes"},
       2,
       "'./primes': scenario files are not in this build; see `bulkhead list` for the built-in "
       "scenarios"},
      {{"run", "primes", "more"},
       2,
       "unexpected 'more' after the scenario 'primes'; inputs go after --input"},
      {{"bench"}, 2, "bench needs a BENCH, such as sched; see `bulkhead bench --help`"},
      {{"bench", "shed"}, 2, "unknown bench 'shed'; did you mean 'sched'? benches: sched"},
      {{"bench", "sched", "yield"},
       2,
       "unexpected 'yield' after the bench 'sched'; rows go after --only"},
      {{"bench", "sched", "--runs", "0"}, 2, "--runs: '0' is out of range; write 1 to 1000"},
      {{"list", "more"}, 2, "unexpected 'more'; `bulkhead list` takes flags only"},
      {{"run", "primes", "--wokers", "3"},
       2,
       "unknown flag '--wokers'; did you mean '--workers'? see `bulkhead run --help`"},
      {{"run", "primes", "--models", "parallel"},
       2,
       "unknown flag '--models'; did you mean '--model'? see `bulkhead run --help`"},
      {{"run", "primes", "-w", "3"}, 2, "unknown flag '-w'; see `bulkhead run --help`"},
      {{"run", "primes", "--workers"}, 2, "--workers needs a value; see `bulkhead run --help`"},
      {{"run", "primes", "--workers", "--check"},
       2,
       "--workers needs a value, but '--check' came; see `bulkhead run --help`"},
      {{"run", "primes", "--workers="}, 2, nullptr},
      {{"run", "primes", "--workers", "0"}, 2, nullptr},
      {{"run", "primes", "--workers", "1000000"}, 2, nullptr},
      {{"run", "primes", "--workers", "99999999999999999999"}, 2, nullptr},
      {{"run", "primes", "--processors", "0"},
       2,
       "--processors: '0' is out of range; write 1 to 1024"},
      {{"run", "primes", "--processors", "1025"},
       2,
       "--processors: '1025' is out of range; write 1 to 1024"},
      {{"run", "primes", "--in-flight", "1000001"},
       2,
       "--in-flight: '1000001' is out of range; write 1 to 1000000"},
      {{"run", "primes", "--repeat", "two"},
       2,
       "--repeat: 'two' is not a whole number; write 1 to 1000"},
      {{"run", "primes", "--seed", "-1"},
       2,
       "--seed: '-1' is not a whole number; write 0 to 9007199254740992"},
      {{"run", "primes", "--max-attempts", "0"},
       2,
       "--max-attempts: '0' is out of range; write 1 to 1000"},
      {{"run", "primes", "--model", "parralel"},
       2,
       "--model: unknown model 'parralel'; did you mean 'parallel'? models: sequential, "
       "concurrent, parallel, threads, processes"},
      {{"compare", "primes", "--in-flight", "2000"},
       2,
       "--in-flight: 2000 jobs at once are more threads than model 'threads' starts; write "
       "--in-flight 1000 or less, or name a pool: --threads 64"},
      {{"run", "primes", "--threads", "1001"},
       2,
       "--threads: '1001' is out of range; write 1 to 1000"},
      {{"run", "primes", "--model", "parallel,processes"},
       2,
       "--model: 'parallel,processes' names several; `bulkhead compare` takes several, with "
       "--models"},
      {{"compare", "primes", "--models", "parallel,cluster"},
       2,
       "model 'cluster' is not in this build; models: sequential, concurrent, parallel, threads, "
       "processes"},
      {{"compare", "primes", "--models", "parallel,parallel"},
       2,
       "--models: 'parallel' is named twice; name each model once"},
      {{"compare", "primes", "--models", "parallel,"},
       2,
       "--models: unknown model ''; models: sequential, concurrent, parallel, threads, processes"},
      {{"run", "primes", "--timeout", "500"},
       2,
       "--timeout: 500: a duration needs a unit: write 500ms or 500s"},
      {{"run", "primes", "--timeout", "never"},
       2,
       "--timeout: 'never' is not a duration; write one as 500ms, 2s or 1m"},
      {{"run", "primes", "--checkpoint", "5us"},
       2,
       "--checkpoint: '5us' is too short; write 1ms or more, or never"},
      {{"run", "primes", "--set", "chunk"},
       2,
       "--set: 'chunk' is not NAME=VALUE; write such as --set chunk=256KiB"},
      {{"run", "primes", "--input", "/no/such\x1b\nplace"},
       4,
       "--input: '/no/such\\x1b\\x0aplace': No such file or directory; name a file or folder that "
       "exists"},
      {{"run", "primes", "--input", "[/,/tmp]"},
       4,
       "--input: '[/,/tmp]': No such file or directory; name a file or folder that exists"},
      {{"run", "primes", "--worker", ""},
       2,
       "--worker: the path is empty; name the worker's executable"},
      {{"run", "primes", "--fault", "sevg@job=20"},
       2,
       "--fault 'sevg@job=20': 1: unknown fault kind 'sevg'; did you mean 'segv'? kinds: segv, "
       "abort, kill, exit, throw, hang, stack-overflow, oom"},
      {{"run", "primes", "--fault", "hang@job=2"},
       2,
       "--fault 'hang@job=2': nothing would end it; add --stall 1s or --job-timeout 5s"},
      {{"run", "primes", "--fault", "oom@job=2"},
       2,
       "--fault 'oom@job=2': it needs a limit to run into, lest it be the machine's; add "
       "--worker-memory 256MiB"},
      {{"run", "primes", "--rate", "200"},
       2,
       "--rate: '200' is not a rate; write one as 200/s or 30/min"},
      {{"run", "primes", "--rate", "200/h"},
       2,
       "--rate: '200/h' is not a rate; write one as 200/s or 30/min"},
      {{"run", "primes", "--rate", "-1/s"},
       2,
       "--rate: '-1/s' is not a rate; write one as 200/s or 30/min"},
      {{"run", "primes", "--rate", ""},
       2,
       "--rate: '' is not a rate; write one as 200/s or 30/min"},
      {{"run", "primes", "--rate", "0/s"},
       2,
       "--rate: '0/s' is out of range; write 1/min to 1000000/s"},
      {{"run", "primes", "--rate", "1000001/s"},
       2,
       "--rate: '1000001/s' is out of range; write 1/min to 1000000/s"},
      {{"run", "primes", "--restarts", "10"},
       2,
       "--restarts: '10' is not N/PERIOD; write such as 10/1s, or 0/1s for none"},
      {{"run", "primes", "--restarts", ""},
       2,
       "--restarts: '' is not N/PERIOD; write such as 10/1s, or 0/1s for none"},
      {{"run", "primes", "--restarts", "-1/1s"},
       2,
       "--restarts: '-1' is not a whole number; write 0 to 100000"},
      {{"run", "primes", "--restarts", "100001/1s"},
       2,
       "--restarts: '100001' is out of range; write 0 to 100000"},
      {{"run", "primes", "--restarts", "10/1"},
       2,
       "--restarts: 1: a duration needs a unit: write 1ms or 1s"},
      {{"run", "primes", "--restarts", "10/"},
       2,
       "--restarts: '' is not a duration; write one as 500ms, 2s or 1m"},
      {{"run", "primes", "--restarts", "10/0s"},
       2,
       "--restarts: '10/0s': the period is too short; write 1ms or more"},
      {{"run", "primes", "--worker-memory", "1MiB"},
       2,
       "--worker-memory: '1MiB' is less than a worker needs; write 32MiB or more"},
      {{"run", "primes", "--model", "processes", "--workers", "2", "--fault", "kill@worker=3"},
       2,
       "--fault 'kill@worker=3': there are 2 workers; write worker=1 to worker=2"},
      {{"run", "primes", "--json", ""},
       2,
       "--json: the path is empty; name a file, or - for standard output"},
      {{"run", "primes", "--json", "/"}, 4, "--json: '/' is a directory; name a file in it"},
      {{"run", "primes", "--json", "/no/such/file"},
       4,
       "--json: '/no/such/file': No such file or directory; name a file in a directory that "
       "exists"},
      {{"run", "primes", "--logs", ""}, 2, "--logs: the path is empty; name a directory"},
      {{"run", "primes", "--logs", "/etc/passwd"},
       4,
       "--logs: '/etc/passwd' is no directory; name one"},
      {{"run", "primes", "--logs", "/no/such/place"},
       4,
       "--logs: '/no/such/place': No such file or directory; it is made where its parent is there: "
       "make that, or name another"},
      {{"run", "primes", "--color", "allways"},
       2,
       "--color: unknown choice 'allways'; did you mean 'always'? choices: auto, always, never"},
      {{"doctor", "--require", "pidfd,prf"},
       2,
       "--require: unknown capability 'prf'; did you mean 'perf'? capabilities: kernel, pidfd, "
       "subreaper, memfd-seals, close-range, guard-madvise, proc, memory-cgroup, "
       "user-namespaces, net-namespaces, perf, core-dumps, descriptors, disk"},
  };
  for (const Case& one : cases) {
    const auto options = parse(one.words);
    ASSERT_FALSE(options) << join(one.words, " ");
    EXPECT_EQ(options.error().code, one.code) << join(one.words, " ");
    const std::string& text = options.error().text;
    EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
    if (one.message != nullptr) {
      EXPECT_EQ(text, std::string("bulkhead: ") + one.message + "\n");
    }
  }
}

}  // namespace
}  // namespace bulkhead::coordinator
