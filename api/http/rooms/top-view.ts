import type { QueueTop } from '../../../scheduler/apply/queue-top.ts';
import type { View } from '../services.ts';
import { unitsText } from './base.ts';

/** Quantities as units. */
export function topView({ flavours, divisions }: QueueTop): View {
  return {
    flavours: flavours.map(({ capacityMilli, usedMilli, leavingMilli, waitingMilli, ...rest }) => ({
      ...rest,
      capacity: units(capacityMilli),
      used: units(usedMilli),
      free: units(Math.max(0, capacityMilli - usedMilli)),
      leaving: units(leavingMilli),
      asked: units(waitingMilli),
    })),
    divisions: divisions.map(({ nominalMilli, usedMilli, borrowedMilli, waitingMilli, ...rest }) => ({
      ...rest,
      nominal: units(nominalMilli),
      used: units(usedMilli),
      borrowed: units(borrowedMilli),
      asked: units(waitingMilli),
    })),
  };
}

function units(milli: number): string {
  return unitsText(BigInt(milli));
}
