import numpy as np
import zarr

from lgcodec.zarr import LgcodecCodec

x=np.add.outer(np.arange(256),np.arange(256)).astype('uint8')
a=zarr.create_array("s.zarr",shape=x.shape,chunks=(128,128),dtype="uint8",serializer=LgcodecCodec(model="fast",effort=1),compressors=None); a[...]=x
