"""What a user hands over, made into batches; the data sets that need no network."""

from convlab.data.resolve import Data as Data
from convlab.data.resolve import resolve as resolve
