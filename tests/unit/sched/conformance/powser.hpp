// For what Go's test/chan/powser1 and powser2 assert: power series as goroutines that compute
// one coefficient when asked, so that sums, products and fixed points become nets of many small
// goroutines. Each series has one reader; when the reader is gone, the series ends.
#pragma once

#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <ostream>
#include <utility>
#include <variant>
#include <vector>

namespace bulkhead::sched {

struct Rational {
  std::int64_t above = 0;
  std::int64_t below = 1;

  bool operator==(const Rational&) const = default;
};
inline Rational reduced(std::int64_t above, std::int64_t below) {
  const std::int64_t common = std::gcd(above, below);
  return {above / common, below / common};
}
inline Rational operator+(Rational a, Rational b) {
  return reduced(a.above * b.below + b.above * a.below, a.below * b.below);
}
inline Rational operator*(Rational a, Rational b) {
  return reduced(a.above * b.above, a.below * b.below);
}
inline std::ostream& operator<<(std::ostream& out, Rational r) {
  return out << r.above << '/' << r.below;
}

// How a channel carries a coefficient: as it is, or on the heap.
template <class Carrier>
struct Carried {
  static Rational pack(Rational value) { return value; }
  static Rational unpack(Rational value) { return value; }
};
template <>
struct Carried<std::unique_ptr<Rational>> {
  static std::unique_ptr<Rational> pack(Rational value) {
    return std::make_unique<Rational>(value);
  }
  static Rational unpack(const std::unique_ptr<Rational>& value) { return *value; }
};

template <class Carrier>
struct PowerSeries {
  struct Stream {
    Channel<std::monostate> ask;  // closed when the reader is gone
    Channel<Carrier> tell;
  };

  // The reading end.
  class Series {
   public:
    explicit Series(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}
    Series(Series&&) = default;
    ~Series() {
      if (stream_ != nullptr) stream_->ask.close();
    }
    Rational next() {
      stream_->ask.send({});
      return Carried<Carrier>::unpack(*stream_->tell.receive());
    }

   private:
    std::shared_ptr<Stream> stream_;
  };

  // body(out): `while (out.wanted()) out.tell(...)`.
  class Out {
   public:
    explicit Out(Stream& stream) : stream_(stream) {}
    bool wanted() { return stream_.ask.receive().has_value(); }
    void tell(Rational value) { stream_.tell.send(Carried<Carrier>::pack(value)); }
    void pass_on(Series& from) {
      while (wanted()) tell(from.next());
    }

   private:
    Stream& stream_;
  };

  template <class Body>
  static Series make(Body body) {
    auto stream = std::make_shared<Stream>();
    // Shared because what go() takes must be copyable.
    go([stream, shared = std::make_shared<Body>(std::move(body))]() mutable {
      Out out(*stream);
      (*shared)(out);
      shared.reset();
    });
    return Series(stream);
  }

  static Series constant(Rational value) {
    return make([value](Out& out) {
      while (out.wanted()) out.tell(value);
    });
  }

  static Series add(Series a, Series b) {
    return make([a = std::move(a), b = std::move(b)](Out& out) mutable {
      while (out.wanted()) {
        const Rational left = a.next();
        out.tell(left + b.next());
      }
    });
  }

  static Series scale(Rational factor, Series a) {
    return make([factor, a = std::move(a)](Out& out) mutable {
      while (out.wanted()) out.tell(factor * a.next());
    });
  }

  // first + x·a
  static Series shift(Rational first, Series a) {
    return make([first, a = std::move(a)](Out& out) mutable {
      if (out.wanted()) out.tell(first);
      out.pass_on(a);
    });
  }

  static Series derivative(Series a) {
    return make([a = std::move(a)](Out& out) mutable {
      for (std::int64_t n = 0; out.wanted(); ++n) {
        if (n == 0) a.next(), n = 1;
        out.tell(Rational{n, 1} * a.next());
      }
    });
  }

  static Series integral(Rational first, Series a) {
    return make([first, a = std::move(a)](Out& out) mutable {
      if (out.wanted()) out.tell(first);
      for (std::int64_t n = 1; out.wanted(); ++n) out.tell(Rational{1, n} * a.next());
    });
  }

  // a(c·x²)
  static Series substitute_square(Series a, Rational c) {
    return make([a = std::move(a), c](Out& out) mutable {
      Rational power{1, 1};
      for (int n = 0; out.wanted(); ++n) {
        out.tell(n % 2 == 0 ? power * a.next() : Rational{});
        if (n % 2 == 0) power = power * c;
      }
    });
  }

  // Two readers of one series; what one has read ahead is kept for the other.
  static std::pair<Series, Series> split(Series source) {
    struct Shared {
      explicit Shared(Series from) : source(std::move(from)) {}
      Mutex reading;  // held across the switches of source.next()
      Series source;
      Mutex keeping;
      std::deque<Rational> kept[2];
    };
    auto shared = std::make_shared<Shared>(std::move(source));
    const auto reader = [&shared](int side) {
      return make([shared, side](Out& out) {
        const auto kept = [&]() -> std::optional<Rational> {
          const std::lock_guard lock(shared->keeping);
          std::deque<Rational>& own = shared->kept[side];
          if (own.empty()) return std::nullopt;
          const Rational first = own.front();
          own.pop_front();
          return first;
        };
        while (out.wanted()) {
          std::optional<Rational> value = kept();
          if (!value.has_value()) {
            const std::lock_guard lock(shared->reading);
            value = kept();  // the other may have been faster
            if (!value.has_value()) {
              value = shared->source.next();
              const std::lock_guard keep(shared->keeping);
              shared->kept[1 - side].push_back(*value);
            }
          }
          out.tell(*value);
        }
      });
    };
    Series first = reader(0);
    return {std::move(first), reader(1)};
  }

  // (a0 + x·A)(b0 + x·B) = a0·b0 + x·(b0·A + a0·B + x·A·B): a new net for each coefficient.
  static Series multiply(Series a, Series b) {
    return make([a = std::move(a), b = std::move(b)](Out& out) mutable {
      if (!out.wanted()) return;
      const Rational a0 = a.next(), b0 = b.next();
      out.tell(a0 * b0);
      if (!out.wanted()) return;
      auto [a1, a2] = split(std::move(a));
      auto [b1, b2] = split(std::move(b));
      Series rest = add(add(scale(b0, std::move(a1)), scale(a0, std::move(b1))),
                        shift({}, multiply(std::move(a2), std::move(b2))));
      out.tell(rest.next());
      out.pass_on(rest);
    });
  }

  // The series s with s = net(s), where a coefficient of net(s) needs only earlier ones of s.
  template <class Net>
  static Series fixed_point(Net net) {
    struct Known {
      Mutex mutex;
      std::vector<Rational> values;
    };
    auto known = std::make_shared<Known>();
    Series earlier = make([known](Out& out) {
      for (std::size_t i = 0; out.wanted(); ++i) {
        const std::unique_lock lock(known->mutex);
        out.tell(known->values.at(i));
      }
    });
    return make([known, series = net(std::move(earlier))](Out& out) mutable {
      while (out.wanted()) {
        const Rational value = series.next();
        {
          const std::unique_lock lock(known->mutex);
          known->values.push_back(value);
        }
        out.tell(value);
      }
    });
  }

  // exp(a) = 1 + ∫ exp(a)·a', for a constant part of 0 or left aside.
  static Series exponential(Series a) {
    return fixed_point([&a](Series self) {
      return integral({1, 1}, multiply(std::move(self), derivative(std::move(a))));
    });
  }

  // tan = ∫ (1 + tan²)
  static Series tangent() {
    return fixed_point([](Series self) {
      auto [one, two] = split(std::move(self));
      return integral({},
                      add(shift({1, 1}, constant({})), multiply(std::move(one), std::move(two))));
    });
  }
};

}  // namespace bulkhead::sched
