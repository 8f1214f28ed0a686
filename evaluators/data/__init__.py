"""Pictures for a search: load_dataset reads every form that is understood."""

from evaluators.data.builtin import DATASETS as DATASETS
from evaluators.data.dataset import Dataset as Dataset
from evaluators.data.load import load_dataset as load_dataset
