"""From a connection to a decoded request and back: bounds, strict decoding, lanes, pages, errors."""
