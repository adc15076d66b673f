// Layer 18: results with what they were measured on, how sure they are, and how they are shown.
#pragma once

#include "morphvlm/report/axis.hpp"
#include "morphvlm/report/bars.hpp"
#include "morphvlm/report/convergence.hpp"
#include "morphvlm/report/curve.hpp"
#include "morphvlm/report/html.hpp"
#include "morphvlm/report/html_style.hpp"
#include "morphvlm/report/machine.hpp"
#include "morphvlm/report/markup.hpp"
#include "morphvlm/report/plot.hpp"
#include "morphvlm/report/report.hpp"
#include "morphvlm/report/statistics.hpp"
#include "morphvlm/report/svg.hpp"
#include "morphvlm/report/table.hpp"
#include "morphvlm/report/wrap_markdown.hpp"
