"""Output size and receptive field of one operation, and how they compose and merge; standard library only.

>>> from convlab import geometry
>>> image = geometry.pixels((32, 32))
>>> first = geometry.conv((32, 32), kernel_size=5)
>>> second = geometry.max_pool(geometry.output_size(first), kernel_size=2)
>>> field = geometry.compose(image, first, second)
>>> field.output_size, field.receptive_field.size, field.receptive_field.jump
((14, 14), (6, 6), (2, 2))
>>> field.box((0, 13))
Box(first=(0, 26), last=(5, 31))
"""

from convlab.geometry.axis import keras_same_padding as keras_same_padding
from convlab.geometry.axis import same_padding as same_padding
from convlab.geometry.box import Box as Box
from convlab.geometry.field import Field as Field
from convlab.geometry.field import compose as compose
from convlab.geometry.field import describe as describe
from convlab.geometry.field import merge as merge
from convlab.geometry.field import pixels as pixels
from convlab.geometry.interval_map import IntervalMap as IntervalMap
from convlab.geometry.operations import adaptive_pool as adaptive_pool
from convlab.geometry.operations import avg_pool as avg_pool
from convlab.geometry.operations import conv as conv
from convlab.geometry.operations import conv_transpose as conv_transpose
from convlab.geometry.operations import crop as crop
from convlab.geometry.operations import lp_pool as lp_pool
from convlab.geometry.operations import max_pool as max_pool
from convlab.geometry.operations import output_size as output_size
from convlab.geometry.operations import pad as pad
from convlab.geometry.operations import upsample as upsample
from convlab.geometry.receptive_field import ReceptiveField as ReceptiveField
from convlab.geometry.stencil import Stencil as Stencil
