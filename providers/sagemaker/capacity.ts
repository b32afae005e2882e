import { capacityOf as leftOf } from '../cloud/rented-flavours.ts';
import type { FlavourCapacity } from '../provider.ts';
import type { Flavour } from './config.ts';
import type { Standing } from './training-jobs.ts';

/**
 * What the quota that the config declares leaves: of each type less what any training job of the account has of it, Merit's or not. Two flavours of one
 * type share its quota's use; each then tells what its own quota would leave.
 */
export function capacityOf(flavours: readonly Flavour[], live: Iterable<Standing>): readonly FlavourCapacity[] {
  const used = new Map<string, number>();
  const id = (type: string | undefined, spot: boolean) => `${type} ${spot}`;
  for (const { instanceType, spot, instances } of live)
    used.set(id(instanceType, spot), (used.get(id(instanceType, spot)) ?? 0) + instances);
  return flavours.map((flavour) =>
    leftOf(flavour, flavour.instances, used.get(id(flavour.instanceType, flavour.spot)) ?? 0),
  );
}
