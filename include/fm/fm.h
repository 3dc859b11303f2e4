/* SPDX-License-Identifier: Apache-2.0 */
/* fm/fm.h - the whole of fibermap; fm/locks.h is of a library of its own, for debugging */
#ifndef FM_FM_H
#define FM_FM_H

#include "fm/base.h"
#include "fm/channel.h"
#include "fm/explore.h"
#include "fm/fiber.h"
#include "fm/flow.h"
#include "fm/handle.h"
#include "fm/io.h"
#include "fm/map.h"
#include "fm/map_child.h"
#include "fm/map_group.h"
#include "fm/map_limit.h"
#include "fm/map_many.h"
#include "fm/map_retain.h"
#include "fm/map_watch.h"
#include "fm/process.h"
#include "fm/pubsub.h"
#include "fm/ratelimit.h"
#include "fm/ref.h"
#include "fm/runtime.h"
#include "fm/schedule.h"
#include "fm/scope.h"
#include "fm/set.h"
#include "fm/sync.h"
#include "fm/trace.h"

#endif
