import t from 'tap'
import { transportSuite } from '@everwire/testkit'
import { suite } from './suite.js'

void transportSuite(t, suite)
