# SPDX-License-Identifier: Apache-2.0
"""A second implementation of the protocol, written from docs/ alone, to hold the first one against."""
