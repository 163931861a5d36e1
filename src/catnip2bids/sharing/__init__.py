"""Links that open a published dataset in a public Neuroglancer."""

from catnip2bids.sharing.share_dataset import PUBLIC_CLIENT, SharedDataset, share

__all__ = ["PUBLIC_CLIENT", "SharedDataset", "share"]
