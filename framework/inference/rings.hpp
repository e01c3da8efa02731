// Rings along the edges of pixels.
#pragma once

#include "framework/inference/polygons.hpp"

namespace strata::inference {

/// Positive when the ring runs clockwise on the screen, where y points down.
STRATA_API double signed_area(const Ring& ring);

/// Without the points at which a ring goes straight on.
STRATA_API Ring corners_only(const Ring& ring);

/// The rings of an area that was traced in strips, each ring with the area to its right, as those
/// of the whole: what strips have in common on the lines `seams` falls away. Where an area touches
/// itself at a corner, its outline goes on across, as OpenCV's contours do: what lies between is a
/// hole of its own.
STRATA_API std::vector<Ring> without_seams(const std::vector<Ring>& rings,
                                           std::vector<std::int64_t> seams);

}  // namespace strata::inference
