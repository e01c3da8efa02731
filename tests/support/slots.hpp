#pragma once

#include "tests/support/build.hpp"
