#include "framework/inference/rings.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace strata::inference {
namespace {

double cross(const Point& a, const Point& b, const Point& c) {
  return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]);
}

using Corner = std::array<std::int32_t, 2>;

struct Edge {
  Corner from, to;
  bool used = false;
};

std::uint64_t key_of(const Corner& corner) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(corner[0])) << 32 |
         static_cast<std::uint32_t>(corner[1]);
}

int sign(std::int32_t value) { return (value > 0) - (value < 0); }

/// The edges of all rings; along seams in pieces of one pixel, of which two in opposite directions
/// are none.
std::vector<Edge> edges_of(const std::vector<Ring>& rings, const std::vector<std::int64_t>& seams) {
  std::vector<Edge> edges;
  std::map<Corner, int>
      along_seams;  // left end: how often to the right, less how often to the left
  for (const Ring& ring : rings) {
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const auto corner = [&](std::size_t k) {
        const Point& point = ring[k % ring.size()];
        return Corner{static_cast<std::int32_t>(point[0]), static_cast<std::int32_t>(point[1])};
      };
      const Corner from = corner(i), to = corner(i + 1);
      if (from[1] != to[1] || !std::binary_search(seams.begin(), seams.end(), from[1])) {
        edges.push_back({from, to});
        continue;
      }
      for (std::int32_t x = std::min(from[0], to[0]); x < std::max(from[0], to[0]); ++x) {
        along_seams[{x, from[1]}] += sign(to[0] - from[0]);
      }
    }
  }
  for (const auto& [left, direction] : along_seams) {
    const Corner right{left[0] + 1, left[1]};
    if (direction > 0) edges.push_back({left, right});
    if (direction < 0) edges.push_back({right, left});
  }
  return edges;
}

}  // namespace

// Positive when the ring runs clockwise on the screen, where y points down.
double signed_area(const Ring& ring) {
  double twice = 0;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const Point &a = ring[i], &b = ring[(i + 1) % ring.size()];
    twice += a[0] * b[1] - b[0] * a[1];
  }
  return twice / 2;
}

Ring corners_only(const Ring& ring) {
  Ring corners;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const Point& before = ring[(i + ring.size() - 1) % ring.size()];
    const Point& after = ring[(i + 1) % ring.size()];
    if (cross(before, ring[i], after) != 0) corners.push_back(ring[i]);
  }
  return corners;
}

std::vector<Ring> without_seams(const std::vector<Ring>& rings, std::vector<std::int64_t> seams) {
  std::sort(seams.begin(), seams.end());
  std::vector<Edge> edges = edges_of(rings, seams);
  std::unordered_map<std::uint64_t, std::array<std::size_t, 2>> leaving;  // edges, by their begin
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const auto [place, is_new] = leaving.try_emplace(key_of(edges[i].from), std::array{i, kNone});
    if (!is_new) place->second[1] = i;
  }
  const auto next = [&](const Edge& edge) {
    const auto& [first, second] = leaving.at(key_of(edge.to));
    if (second == kNone) return first;
    // To the left: with y down, (x, y) turns to (y, -x).
    const int x = sign(edge.to[0] - edge.from[0]), y = sign(edge.to[1] - edge.from[1]);
    const Edge& one = edges[first];
    const bool left = sign(one.to[0] - one.from[0]) == y && sign(one.to[1] - one.from[1]) == -x;
    return left ? first : second;
  };
  std::vector<Ring> joined;
  for (std::size_t start = 0; start < edges.size(); ++start) {
    if (edges[start].used) continue;
    Ring ring;
    for (std::size_t at = start; !edges[at].used; at = next(edges[at])) {
      edges[at].used = true;
      ring.push_back(
          {static_cast<double>(edges[at].from[0]), static_cast<double>(edges[at].from[1])});
    }
    joined.push_back(corners_only(ring));
  }
  return joined;
}

}  // namespace strata::inference
