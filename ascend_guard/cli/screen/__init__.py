"""What a person sees and decides with: lists, one action, the whole screen."""
