"""What a user hands over, made into batches; the data sets that need no network."""

from convlab.data.data import Data as Data
from convlab.data.digits import digits as digits
from convlab.data.mended import balanced as balanced
from convlab.data.mended import standardised as standardised
from convlab.data.mended import without_copies as without_copies
from convlab.data.resolve import resolve as resolve
from convlab.data.shapes import shapes as shapes
