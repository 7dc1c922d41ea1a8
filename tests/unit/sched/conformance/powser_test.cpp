// What Go's test/chan/powser1 asserts, in our own words; and powser2, where values travel as
// pointers to what is on the heap.
#include "tests/unit/sched/conformance/powser.hpp"

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

template <class Carrier>
class Powser : public EverywhereTest {
 protected:
  using Nets = PowerSeries<Carrier>;
  using Series = typename Nets::Series;

  void expect(Series (*series)(), std::vector<Rational> coefficients) {
    run([&] {
      Series made = series();
      for (std::size_t i = 0; i < coefficients.size(); ++i)
        EXPECT_EQ(made.next(), coefficients[i]) << "coefficient " << i;
    });
  }
  static Series ones() { return Nets::constant({1, 1}); }

  void sum() {
    expect(
        [] {
          return Nets::add(ones(), Nets::constant({2, 1}));
        },
        {{3, 1}, {3, 1}, {3, 1}, {3, 1}});
  }
  void derivative_of_ones() {
    expect([] { return Nets::derivative(ones()); }, {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}});
  }
  void integral_of_ones() {
    expect([] { return Nets::integral({}, ones()); }, {{}, {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}});
  }
  void square_of_ones() {
    expect([] { return Nets::multiply(ones(), ones()); },
           {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}, {7, 1}, {8, 1}});
  }
  void exponential_of_ones() {
    expect([] { return Nets::exponential(ones()); }, {{1, 1},
                                                      {1, 1},
                                                      {3, 2},
                                                      {13, 6},
                                                      {73, 24},
                                                      {167, 40},
                                                      {4051, 720},
                                                      {37633, 5040},
                                                      {43817, 4480},
                                                      {4596553, 362880}});
  }
  void arc_tangent() {
    expect(
        [] {
          return Nets::integral({}, Nets::substitute_square(ones(), {-1, 1}));
        },
        {{}, {1, 1}, {}, {-1, 3}, {}, {1, 5}, {}, {-1, 7}, {}, {1, 9}});
  }
  void tangent() {
    expect(&Nets::tangent, {{}, {1, 1}, {}, {1, 3}, {}, {2, 15}, {}, {17, 315}, {}, {62, 2835}});
  }
};

using GoPowser1 = Powser<Rational>;
using GoPowser2 = Powser<std::unique_ptr<Rational>>;

#define BULKHEAD_POWSER(Suite)                                \
  TEST_P(Suite, Sum) { sum(); }                               \
  TEST_P(Suite, DerivativeOfOnes) { derivative_of_ones(); }   \
  TEST_P(Suite, IntegralOfOnes) { integral_of_ones(); }       \
  TEST_P(Suite, SquareOfOnes) { square_of_ones(); }           \
  TEST_P(Suite, ExponentialOfOnes) { exponential_of_ones(); } \
  TEST_P(Suite, ArcTangent) { arc_tangent(); }                \
  TEST_P(Suite, Tangent) { tangent(); }                       \
  BULKHEAD_EVERYWHERE(Suite)

BULKHEAD_POWSER(GoPowser1);
BULKHEAD_POWSER(GoPowser2);

}  // namespace
}  // namespace bulkhead::sched
